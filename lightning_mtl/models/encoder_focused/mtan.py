"""The multi-task attention network."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.engine.graph import join_features
from lightning_mtl.models.blocks import bottleneck
from lightning_mtl.models.decoders.build import Decoder
from lightning_mtl.models.dense_network import DenseNetwork
from lightning_mtl.models.encoders.dilation import Dilation
from lightning_mtl.models.encoders.stages import all_features, encoder_stages, run
from lightning_mtl.models.shared_encoder import SharedEncoder

__all__ = ["MTAN"]


class MTAN(DenseNetwork):
    """Hard sharing, with masks by which each task selects from the shared features of each stage.

    Liu, Johns & Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019, section 3,
    as in the survey of Vandenhende et al., TPAMI 2021, on encoders: with u^b and u^t the features
    before and after the last block of a stage, task t has the mask
    σ(BN(W' ReLU(BN(W [u^b, a_t])))), a quarter as wide inside, and goes on with
    a_t' = Refine(mask ⊙ u^t), where Refine is a residual block that all tasks share. Decoders take
    the masked features of every stage from stride 4 on.

    Deviations: with skip connections ("unet", "fpn") decoders receive mask ⊙ u^t at each stage; the
    survey's "deeplabv3" takes the last one only. Where the last block of a stage changes the shape
    or is the only one, u^b is u^t.

    Args:
        channels: output channels by task.
        encoder: name of an encoder whose stages run one by one: a ResNet, a MobileNet, or a
            convolutional `tu-` encoder of timm.
        encoder_weights: as smp has them; `None` starts from scratch and downloads nothing.
        decoder: as in `SharedEncoder`; the survey has "deeplabv3".
        output_stride: of the encoder, as in `SharedEncoder`; the survey has 8.
        in_channels: channels of the image.
        dilation: of a ResNet with `output_stride` 8 or 16, "smp" or "survey", see `build_encoder`.

    Raises:
        ValueError: if the encoder or the decoder does not fit.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        decoder: Decoder = "unet",
        output_stride: int = 32,
        in_channels: int = 3,
        dilation: Dilation = "smp",
    ) -> None:
        super().__init__(32, in_channels)
        self.baseline = SharedEncoder(
            channels,
            encoder,
            encoder_weights,
            decoder,
            output_stride,
            in_channels,
            dilation=dilation,
        )
        trunk: Any = self.baseline.encoder
        stages = encoder_stages(trunk)
        self.lower = sum(stage.level < 2 for stage in stages)
        self.divided = _divisible(trunk, in_channels)
        widths = [trunk.out_channels[stage.level] for stage in stages[self.lower :]]
        inputs = [widths[0], *(2 * width for width in widths[1:])]
        self.masks: Mapping[str, Sequence[nn.Module]] = nn.ModuleDict(  # type: ignore[assignment]
            {
                task: nn.ModuleList(
                    _mask(wide, width) for wide, width in zip(inputs, widths, strict=True)
                )
                for task in channels
            }
        )
        self.refinements = nn.ModuleList(
            bottleneck(width, after) for width, after in pairwise(widths)
        )

    def predict(self, image: Float[Tensor, "N I H W"]) -> dict[str, Float[Tensor, "N C h w"]]:
        """One pass of the encoder, then for each task its masks and its decoder."""
        inner, after, x = [], [], image
        for stage, divided in zip(encoder_stages(self.baseline.encoder), self.divided, strict=True):
            before_last = run(stage.blocks[:-1], x)
            x = run(stage.blocks[-1:], before_last)
            inner += [before_last] if divided else []
            after.append(x)
        # Each tensor once: the compiler refuses one that comes twice.
        joined = join_features([*after, *inner])
        after, divided_ones = joined[: len(after)], iter(joined[len(after) :])
        before = [
            next(divided_ones) if divided else last
            for divided, last in zip(self.divided, after, strict=True)
        ]
        selected = {
            task: self._select(task, before[self.lower :], after[self.lower :])
            for task in self.masks
        }
        return {
            task: self.baseline.decode(task, all_features(image, [*after[: self.lower], *own]))
            for task, own in selected.items()
        }

    def _select(self, task: str, before: list[Tensor], after: list[Tensor]) -> list[Tensor]:
        """What a task selects of the features of each stage."""
        selected: list[Tensor] = []
        carried: list[Tensor] = []
        for level, mask in enumerate(self.masks[task]):
            if selected:
                refined = self.refinements[level - 1](selected[-1])
                carried = [_at_size(refined, before[level])]
            selected.append(mask(torch.cat([before[level], *carried], 1)) * after[level])
        return selected


def _divisible(encoder: nn.Module, in_channels: int) -> list[bool]:
    """For each stage, whether its last block maps features to others of the same shape."""
    parameter, training = next(encoder.parameters()), encoder.training
    x = parameter.new_zeros(1, in_channels, 64, 64)
    found = []
    encoder.eval()
    with torch.no_grad():
        for stage in encoder_stages(encoder):
            inner = run(stage.blocks[:-1], x)
            x = run(stage.blocks[-1:], inner)
            # A block that works in place, as an activation may, leaves nothing of its input.
            new = inner is not x and len(stage.blocks) > 1
            found.append(new and inner.shape == x.shape)
    encoder.train(training)
    return found


def _mask(width: int, out_channels: int) -> nn.Sequential:
    """Maps features to a mask between 0 and 1."""
    inner = max(out_channels // 4, 1)
    return nn.Sequential(
        *(nn.Conv2d(width, inner, 1), nn.BatchNorm2d(inner), nn.ReLU()),
        *(nn.Conv2d(inner, out_channels, 1), nn.BatchNorm2d(out_channels), nn.Sigmoid()),
    )


def _at_size(carried: Tensor, features: Tensor) -> Tensor:
    """What comes from the stage above, pooled to the size of this one: by 2, or by 1 if dilated."""
    stride = carried.shape[-1] // features.shape[-1]
    return nn.functional.max_pool2d(carried, stride) if stride > 1 else carried
