"""The head of HRNet: features of all scales, fused at the largest."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.models.blocks import conv_norm_relu
from lightning_mtl.models.dense_network import resized

__all__ = ["FusionHead"]


class FusionHead(nn.Module):
    """Features of several scales at the size of the first, mixed and predicted from at each pixel.

    Args:
        widths: channels of the features, by scale.
        channels: of the prediction.
    """

    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.mixture = conv_norm_relu(sum(widths), sum(widths))
        self.prediction = nn.Conv2d(sum(widths), channels, 1)

    def forward(self, features: Sequence[Float[Tensor, "N C h w"]]) -> Float[Tensor, "N K H W"]:
        """The prediction at the size of the first features."""
        size = features[0].shape[-2:]
        joint = torch.cat([resized(scale, size) for scale in features], 1)
        return self.prediction(self.mixture(joint))
