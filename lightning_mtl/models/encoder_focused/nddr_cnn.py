"""NDDR-CNN."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lightning_mtl.models.encoder_focused.parallel_networks import ParallelNetworks

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

    The arguments are those of `ParallelNetworks`.
    """

    first_level = 1

    def build_unit(self, start: Float[Tensor, "K K"], width: int) -> NDDRUnit:
        """A unit for one stage, which starts with `alpha` and `beta`."""
        return NDDRUnit(start, width)


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
