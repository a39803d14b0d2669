"""PSD: features diffused in small windows, by structures of their own task and of the others."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.checks import check_choice
from lightning_mtl.engine.graph import join_features
from lightning_mtl.models.decoder_focused.diffusion import check_diffusion, diffuse
from lightning_mtl.models.decoder_focused.local_affinity import LocalAffinity, local_average
from lightning_mtl.models.decoder_focused.refinement import RefinementNetwork
from lightning_mtl.models.decoder_focused.source import Source
from lightning_mtl.models.decoder_focused.structure_transfer import StructureTransfer

__all__ = ["PSD"]

WINDOWS = (3, 5)


class PSD(RefinementNetwork):
    """Pattern-structure diffusion: local structures spread within a task, then across tasks.

    From one map that all tasks share, two bottlenecks per task make features F_t, and a 1 x 1
    convolution the initial prediction. The structure M_t of a task is how alike every pixel is to
    those in a window around it. Recursive diffusion lets it reach far: first within the task, then
    along the structures of all tasks, which each main task takes over where they match its own:

    h^{n+1} = β M_t h^n + (1 − β) F_t from h^0 = F_t on; D_t is the last

    h^{n+1} = β Σ_k w_k^t M_k h^n + (1 − β) D_t from h^0 = D_t on

    where Σ_k w_k^t = 1 at each pixel, and w_k^t is proportional to α_k^t cos(M_t, M_k), by learned
    α_k^t.

    Two more bottlenecks and a 1 x 1 convolution make the final prediction. Initial and final
    predictions are trained alike.

    Zhou et al., "Pattern-Structure Diffusion for Multi-Task Learning", CVPR 2020.

    Deviations: written from its description, which names local structures, their recursive spread
    and their transfer by matching degree; the formulas and all numbers are ours.

    Args:
        channels: output channels by task.
        encoder: name of an encoder, as `build_encoder` takes it.
        encoder_weights: as smp has them; `None` starts from scratch and downloads nothing.
        main: names of the tasks with a final prediction. The others are auxiliary: their initial
            prediction is their result. By default all tasks are main.
        source: what the initial features start from: "fpn", a feature pyramid decoder with 128
            channels at stride 4, or "deepest", the last stage of the encoder.
        output_stride: of the encoder; with "deepest", 8 or 16 dilate its last stages.
        width: channels of the features of each task, a multiple of 4.
        affinity_width: channels that structures are computed from, at least 1.
        window: 3 or 5, the side of the window in pixels of the features.
        beta: β, from 0 to 1: the share of the neighbours in a step of a diffusion.
        iterations: steps of each diffusion, at least 1; each reaches half a window further.
        in_channels: channels of the image.
        encoder_options: further arguments of the encoder, as `build_encoder` takes them.

    Raises:
        ValueError: if `main` has no task or an unknown one, the source is not known or does not fit
            the output stride, or a number is out of its range.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        main: Sequence[str] | None = None,
        source: Source = "fpn",
        output_stride: int = 32,
        width: int = 256,
        affinity_width: int = 64,
        window: int = 3,
        beta: float = 0.5,
        iterations: int = 3,
        in_channels: int = 3,
        encoder_options: dict[str, Any] | None = None,
    ) -> None:
        check_choice("PSD", "window", window, WINDOWS)
        check_diffusion("PSD", beta, iterations, affinity_width)
        super().__init__(
            channels,
            encoder,
            encoder_weights,
            main,
            source,
            output_stride,
            width,
            in_channels,
            encoder_options,
        )
        self.window = window
        self.beta = beta
        self.iterations = iterations
        self.structures = nn.ModuleDict(
            {task: LocalAffinity(width, affinity_width, window) for task in channels}
        )
        self.transfers = nn.ModuleDict(
            {task: StructureTransfer(len(channels)) for task in self.heads}
        )

    def refine(
        self, features: dict[str, Float[Tensor, "N C h w"]]
    ) -> tuple[dict[str, Float[Tensor, "N C h w"]], dict[str, Float[Tensor, "N C h w"]]]:
        """The initial features, and those of the main tasks after both diffusions."""
        structures = [of(features[task]) for task, of in self.structures.items()]
        joined = join_features([*features.values(), *structures])
        features = dict(zip(features, joined[: len(features)], strict=True))
        own = dict(zip(features, joined[len(features) :], strict=True))
        refined = {}
        for task, transfer in self.transfers.items():
            within = self.diffused(features[task], own[task])
            refined[task] = self.diffused(within, transfer(own[task], list(own.values())))
        return features, refined

    def diffused(
        self, features: Float[Tensor, "N C h w"], structure: Float[Tensor, "N Q h w"]
    ) -> Float[Tensor, "N C h w"]:
        """Features of one task after diffusion along a structure."""
        return diffuse(
            features,
            lambda state: local_average(state, structure, self.window),
            self.beta,
            self.iterations,
        )
