"""PAP-Net: features diffused along affinities between pixels that the tasks share."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.checks import check_choice
from lightning_mtl.engine.graph import join_features
from lightning_mtl.models.decoder_focused.diffusion import (
    AffinityMixture,
    check_diffusion,
    diffuse,
)
from lightning_mtl.models.decoder_focused.pixel_affinity import PixelAffinity
from lightning_mtl.models.decoder_focused.refinement import RefinementNetwork
from lightning_mtl.models.decoder_focused.source import Source, source_stride
from lightning_mtl.models.dense_network import resized

__all__ = ["PAPNet"]

AFFINITY_STRIDES = (4, 8, 16, 32)


class PAPNet(RefinementNetwork):
    """PAP-Net: which pixels are alike is learned from every task and spread to the others.

    From one map that all tasks share, two bottlenecks per task make features F_t, and a 1 x 1
    convolution the initial prediction. Affinities M_t between all pairs of pixels are the
    non-negative cosines of a 1 x 1 convolution of F_t, each row divided by its sum. A main task
    mixes those of all tasks, by weights that it learns, and diffuses its features along them:

    M̂_t = Σ_k α_k^t M_k with Σ_k α_k^t = 1,    h^{n+1} = β M̂_t h^n + (1 − β) F_t from h^0 = F_t

    Two more bottlenecks and a 1 x 1 convolution make the final prediction. Initial and final
    predictions are trained alike.

    Zhang et al., "Pattern-Affinitive Propagation across Depth, Surface Normal and Semantic
    Segmentation", CVPR 2019, section 3.

    Deviations: written from its description. The pair-wise affinity loss is left out. Affinities
    take memory by the square of the number of pixels, so they and the diffusion are computed on a
    map averaged to `affinity_stride`; what diffusion has changed there is resized and added to F_t,
    whose detail is kept. The weights α are a softmax.

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
        affinity_width: channels that affinities are computed from, at least 1.
        affinity_stride: 4, 8, 16 or 32: pixels of the image along the side of a pixel that
            affinities are computed for; more where the features are coarser.
        beta: β, from 0 to 1: the share of the other pixels in a step of the diffusion.
        iterations: steps of the diffusion, at least 1.
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
        affinity_width: int = 128,
        affinity_stride: int = 16,
        beta: float = 0.05,
        iterations: int = 3,
        in_channels: int = 3,
        encoder_options: dict[str, Any] | None = None,
    ) -> None:
        check_choice("PAPNet", "affinity_stride", affinity_stride, AFFINITY_STRIDES)
        check_diffusion("PAPNet", beta, iterations, affinity_width)
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
        self.beta = beta
        self.iterations = iterations
        self.pool = nn.AvgPool2d(max(affinity_stride // source_stride(source, output_stride), 1))
        self.affinities = nn.ModuleDict(
            {task: PixelAffinity(width, affinity_width) for task in channels}
        )
        self.mixtures = nn.ModuleDict({task: AffinityMixture(len(channels)) for task in self.heads})

    def refine(
        self, features: dict[str, Float[Tensor, "N C h w"]]
    ) -> tuple[dict[str, Float[Tensor, "N C h w"]], dict[str, Float[Tensor, "N C h w"]]]:
        """The initial features, and those of the main tasks after diffusion."""
        affinities = [of(self.pool(features[task])) for task, of in self.affinities.items()]
        joined = join_features([*features.values(), *affinities])
        features = dict(zip(features, joined[: len(features)], strict=True))
        affinities = joined[len(features) :]
        return features, {
            task: self.diffused(features[task], mixture(affinities))
            for task, mixture in self.mixtures.items()
        }

    def diffused(
        self, features: Float[Tensor, "N C h w"], affinity: Float[Tensor, "N P P"]
    ) -> Float[Tensor, "N C h w"]:
        """Features of one task and how diffusion changes their averages over larger pixels."""
        start = self.pool(features)
        end = diffuse(
            start.flatten(2), lambda state: state @ affinity.mT, self.beta, self.iterations
        )
        return features + resized(end.view_as(start) - start, features.shape[-2:])
