"""Affinities between all pairs of pixels."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PixelAffinity"]


class PixelAffinity(nn.Module):
    """M_pq = relu(e_p · e_q) / Σ_q relu(e_p · e_q), of unit vectors e: how alike two pixels are.

    The vectors are a 1 x 1 convolution of the features, divided by their norm over channels. A row
    sums to one, and every pixel is most alike to itself. ReLU keeps the similarities from being
    negative and leaves pairs that have nothing in common at zero; the exponential, which cosines
    hardly vary, would make M nearly uniform.

    Args:
        channels: of the features.
        width: channels to compare.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Conv2d(channels, width, 1)

    def forward(self, features: Float[Tensor, "N C h w"]) -> Float[Tensor, "N P P"]:
        """The affinities of P = h w pixels."""
        vectors = F.normalize(self.embedding(features).flatten(2), dim=1)
        similar = torch.relu(vectors.mT @ vectors)
        return F.normalize(similar, p=1, dim=2)
