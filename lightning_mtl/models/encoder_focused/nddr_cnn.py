"""NDDR-CNN."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lightning_mtl.models.decoders.build import Decoder
from lightning_mtl.models.encoder_focused.parallel_networks import (
    ParallelNetworks,
    own_and_other,
)

__all__ = ["NDDRCNN", "NDDRUnit"]

MOMENTUM = 0.05
"""Of the batch norm after each fusion, as in the survey's code."""


class NDDRUnit(nn.Module):
    """For each task the concatenated features of all, through a 1 x 1 convolution, norm and ReLU.

    Args:
        blocks: for each pair of tasks, the number on the diagonal of its block of the convolution
            at the start; the rest of the block is zero.
        width: channels of the features of one task.
    """

    def __init__(self, blocks: Float[Tensor, "K K"], width: int) -> None:
        super().__init__()
        self.fusions: Sequence[Any] = nn.ModuleList(_fusion(row, width) for row in blocks)  # type: ignore[assignment]

    def forward(self, maps: Sequence[Float[Tensor, "N C h w"]]) -> list[Float[Tensor, "N C h w"]]:
        """The fused features of each task, given those of all."""
        return [_fused(fusion, maps) for fusion in self.fusions]


class NDDRCNN(ParallelNetworks):
    """One network per task; after each stage, a 1 x 1 convolution per task fuses all features.

    Gao et al., "NDDR-CNN: Layerwise Feature Fusing in Multi-Task CNNs by Neural Discriminative
    Dimensionality Reduction", CVPR 2019, section 3, as in the survey of Vandenhende et al., TPAMI
    2021: ReLU(BN(W_i [x_1, ..., x_K])), where W_i starts as `alpha` times the identity on the
    features of task i and as `beta` times it on those of others. It is made to start from trained
    single-task networks (`checkpoints`), and to be trained by SGD with weight decay and a learning
    rate 100 times as high for the fusions. With an adaptive optimizer, whose steps are about as
    long as its learning rate, prefer `unit_lr_multiplier=1`.

    Deviations: the first fusion stands before the pooling of the stem, where the encoders of smp
    have their first feature, and not after it. There is no variant with shortcuts. The survey's
    released code resets the learning rate of the fusions, which is `unit_lr_multiplier=1`.

    Args:
        channels: output channels by task.
        encoder: name of an encoder whose stages run one by one: a ResNet, a MobileNet, or a
            convolutional `tu-` encoder of timm.
        encoder_weights: as smp has them; `None` starts from scratch and downloads nothing.
        decoder: as in `SharedEncoder`; the survey has "deeplabv3".
        output_stride: of the encoders, as in `SharedEncoder`; the survey has 8.
        alpha: initial weight of a task's own features, at least 0. The survey has .9 for two
            tasks, .8 for five.
        beta: initial weight of those of each other task, at least 0; by default what makes the
            weights of a task sum to one.
        unit_lr_multiplier: what the learning rate is multiplied by for the fusions.
        checkpoints: by task, a checkpoint of `DensePrediction` with a `SharedEncoder` of the task
            alone, from which its network starts.
        in_channels: channels of the image.

    Raises:
        FileNotFoundError: if a checkpoint is missing.
        ValueError: if an argument is out of range, the encoder or the decoder does not fit, or a
            checkpoint is of another network.
    """

    first_level = 1

    def __init__(
        self,
        channels: Mapping[str, int],
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        decoder: Decoder = "unet",
        output_stride: int = 32,
        alpha: float = 0.9,
        beta: float | None = None,
        unit_lr_multiplier: float = 100.0,
        checkpoints: dict[str, str] | None = None,
        in_channels: int = 3,
    ) -> None:
        self.start = own_and_other("NDDRCNN", len(channels), alpha, beta)
        super().__init__(
            channels,
            encoder,
            encoder_weights,
            decoder,
            output_stride,
            in_channels,
            checkpoints,
            unit_lr_multiplier,
        )

    def build_unit(self, width: int) -> NDDRUnit:
        """A unit that starts with `alpha` and `beta`, called once for each stage."""
        return NDDRUnit(self.start, width)


def _fused(fusion: Any, maps: Sequence[Float[Tensor, "N C h w"]]) -> Float[Tensor, "N C h w"]:
    """The output of a fusion for concatenated maps, without a copy of them for each task."""
    convolution, norm, activation = fusion[0], fusion[1], fusion[2]
    blocks = convolution.weight.chunk(len(maps), 1)
    parts = [functional.conv2d(own, block) for own, block in zip(maps, blocks, strict=True)]
    return activation(norm(torch.stack(parts).sum(0)))


def _fusion(weights: Float[Tensor, " K"], width: int) -> nn.Sequential:
    """The fusion of one task, with the initial weight of each task's features."""
    convolution = nn.Conv2d(len(weights) * width, width, 1, bias=False)
    blocks = torch.cat([weight * torch.eye(width) for weight in weights], 1)
    with torch.no_grad():
        convolution.weight.copy_(blocks.view_as(convolution.weight))
    return nn.Sequential(convolution, nn.BatchNorm2d(width, momentum=MOMENTUM), nn.ReLU())
