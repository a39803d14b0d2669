"""MTI-Net: distillation between tasks at each of four scales, and propagation between scales."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.checks import check_choice
from lightning_mtl.engine.graph import join_features
from lightning_mtl.models.blocks import basic_block, conv_norm_relu
from lightning_mtl.models.decoder_focused.by_task import ByTask
from lightning_mtl.models.decoder_focused.distillation import Distillation
from lightning_mtl.models.decoder_focused.feature_propagation import FeaturePropagation, Softmax
from lightning_mtl.models.decoder_focused.fusion_head import FusionHead
from lightning_mtl.models.decoder_focused.main_tasks import main_tasks
from lightning_mtl.models.deep_supervision import DeeplySupervisedNetwork
from lightning_mtl.models.dense_network import resized
from lightning_mtl.models.encoders.build import build_encoder

__all__ = ["MTINet"]

Features = dict[str, Float[Tensor, "N C h w"]]
"""Features of each task at one scale."""


class MTINet(DeeplySupervisedNetwork):
    """MTI-Net: initial predictions and distillation at four scales, coarse scales helping finer.

    At each scale s of strides 32, 16, 8 and 4, two basic blocks per task make features F_t^s from
    the features x^s of the encoder and, from 16 on, from those that the feature propagation module
    hands over from the coarser scale:

    F_t^s = block([x^s, up(F_t^{s+1} + SE_t(block(A ⊙ [F_1^{s+1}, ..., F_T^{s+1}])))])

    with masks A that sum to one over the tasks. A 1 x 1 convolution makes the initial prediction of
    each task at each scale. A main task takes from every other task a, main or auxiliary:

    F'_t^s = F_t^s + Σ_{a ≠ t} σ(G_ta^s ∗ F_a^s) ⊙ (W_ta^s ∗ F_a^s)

    and its final prediction is made from the F'_t^s of all scales, resized to stride 4 and joined.
    Initial and final predictions are trained alike.

    Vandenhende, Georgoulis & Van Gool, "MTI-Net: Multi-Scale Task Interaction Networks for
    Multi-Task Learning", ECCV 2020, sections 3.2 to 3.5.

    Deviations: a 1 x 1 convolution brings the stages of any encoder to `widths` first; the paper
    takes the branches of HRNet as they are: `encoder="tu-hrnet_w18_small_v2"`, `widths=None`,
    `encoder_options={"feature_location": ""}`. The released code takes the softmax of the masks
    over adjacent channels, nearly always of one task (`softmax="channels"`). The convolution before
    the batch norm of the final head has no bias, which would change nothing.

    Args:
        channels: output channels by task.
        encoder: name of an encoder, as `build_encoder` takes it.
        encoder_weights: as smp has them; `None` starts from scratch and downloads nothing.
        main: names of the tasks with a final prediction. The others are auxiliary: their initial
            prediction at stride 4 is their result. By default all tasks are main.
        widths: channels of the features of each task at strides 4, 8, 16 and 32, each at least 4;
            `None` takes those of the encoder.
        softmax: what the masks are normalised across: "tasks", or "channels" as released.
        in_channels: channels of the image.
        encoder_options: further arguments of the encoder, as `build_encoder` takes them.

    Raises:
        ValueError: if `main` has no task or an unknown one, there are not four widths of at least
            4, or `softmax` is not known.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        main: Sequence[str] | None = None,
        widths: Sequence[int] | None = (32, 64, 128, 256),
        softmax: Softmax = "tasks",
        in_channels: int = 3,
        encoder_options: dict[str, Any] | None = None,
    ) -> None:
        chosen = main_tasks("MTINet", channels, main)
        check_choice("MTINet", "softmax", softmax, get_args(Softmax))
        _check_widths(widths)
        super().__init__(32, in_channels)
        self.tasks = list(channels)
        self.encoder = build_encoder(
            encoder, encoder_weights, in_channels=in_channels, options=encoder_options
        )
        self.laterals = _laterals(self.encoder.out_channels[2:], widths)
        widths = self.encoder.out_channels[2:] if widths is None else widths
        # By scale, the finest first, as the encoder returns them.
        self.features = nn.ModuleList(
            ByTask({task: _blocks(width + coarser, width) for task in channels})
            for width, coarser in zip(widths, [*widths[1:], 0], strict=True)
        )
        self.initial = nn.ModuleList(
            ByTask({task: nn.Conv2d(width, out, 1) for task, out in channels.items()})
            for width in widths
        )
        self.propagation = nn.ModuleList(
            FeaturePropagation(list(channels), width, softmax) for width in widths[1:]
        )
        self.distillation = nn.ModuleList(
            Distillation(list(channels), chosen, width) for width in widths
        )
        self.heads = nn.ModuleDict({task: FusionHead(widths, channels[task]) for task in chosen})

    def predict_all(
        self, image: Float[Tensor, "N I H W"]
    ) -> dict[str, list[Float[Tensor, "N C h w"]]]:
        """The initial predictions at strides 32 to 4 and, of a main task, the final one."""
        features = self.initial_features(image)
        initial = [predict(scale) for predict, scale in zip(self.initial, features, strict=True)]
        predictions = {task: [scale[task] for scale in reversed(initial)] for task in self.tasks}
        refined = self.refine(features)
        for task, head in self.heads.items():
            predictions[task].append(head([scale[task] for scale in refined]))
        return predictions

    def initial_features(self, image: Float[Tensor, "N I H W"]) -> list[Features]:
        """Features of each task that the initial predictions are made from; the finest first."""
        stages = self.encoder(image)[2:]
        stages = [lateral(stage) for lateral, stage in zip(self.laterals, stages, strict=True)]
        scales = [self.features[3](dict.fromkeys(self.tasks, stages[3]))]
        for scale in (2, 1, 0):
            scales.insert(0, self._finer(scale, stages[scale], scales[0]))
        return _joined(scales)

    def refine(self, features: list[Features]) -> list[Features]:
        """Features of the main tasks at each scale, after distillation from the initial ones."""
        return [distil(scale) for distil, scale in zip(self.distillation, features, strict=True)]

    def _finer(self, scale: int, stage: Float[Tensor, "N C h w"], coarser: Features) -> Features:
        """Initial features at a scale, given the stage of the encoder and the coarser features."""
        handed = self.propagation[scale](coarser)
        size = stage.shape[-2:]
        return self.features[scale](
            {task: torch.cat([stage, resized(handed[task], size)], 1) for task in self.tasks}
        )


def _blocks(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(basic_block(channels, width), basic_block(width, width))


def _laterals(channels: Sequence[int], widths: Sequence[int] | None) -> nn.ModuleList:
    if widths is None:
        return nn.ModuleList(nn.Identity() for _ in channels)
    return nn.ModuleList(
        conv_norm_relu(stage, width) for stage, width in zip(channels, widths, strict=True)
    )


def _joined(scales: list[Features]) -> list[Features]:
    """The same features, as one place where heads leave the shared part of the network."""
    joined = iter(join_features([feature for scale in scales for feature in scale.values()]))
    return [{task: next(joined) for task in scale} for scale in scales]


def _check_widths(widths: Sequence[int] | None) -> None:
    if widths is not None and (len(widths) != 4 or min(widths) < 4):
        raise ValueError(
            "`MTINet(widths=)` should be four numbers of channels, each at least 4, for strides 4,"
            f" 8, 16 and 32. Found {widths}. Set `None` for those of the encoder."
        )
