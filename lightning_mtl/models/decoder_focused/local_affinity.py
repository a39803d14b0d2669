"""Affinities between pixels and their neighbours in a small window."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LocalAffinity", "local_average"]


class LocalAffinity(nn.Module):
    """M_pq = softmax over the window of e_p · e_q / √D: how alike a pixel and a neighbour are.

    The vectors e are a 1 x 1 convolution of the features to D channels. Neighbours outside the
    image have no share.

    Args:
        channels: of the features.
        width: D, channels to compare.
        window: side of the window, odd.
    """

    def __init__(self, channels: int, width: int, window: int) -> None:
        super().__init__()
        self.window = window
        # Of both vectors in a product, which is then scaled by 1 / √D.
        self.scale = width**-0.25
        self.embedding = nn.Conv2d(channels, width, 1)

    def forward(self, features: Float[Tensor, "N C h w"]) -> Float[Tensor, "N Q h w"]:
        """The affinities to the Q pixels of the window, row by row."""
        vectors = self.embedding(features) * self.scale
        similar = torch.stack(
            [(vectors * other).sum(1) for other in _neighbours(vectors, self.window)], 1
        )
        inside = torch.cat(_neighbours(torch.ones_like(similar[:, :1]), self.window), 1)
        return similar.masked_fill(inside == 0, -torch.inf).softmax(1)


def local_average(
    state: Float[Tensor, "N C h w"], affinity: Float[Tensor, "N Q h w"], window: int
) -> Float[Tensor, "N C h w"]:
    """Σ_q M_pq h_q: the average of the window of each pixel by affinity."""
    neighbours = _neighbours(state, window)
    average = affinity[:, :1] * neighbours[0]
    for place, neighbour in enumerate(neighbours[1:], start=1):
        average = average + affinity[:, place : place + 1] * neighbour
    return average


def _neighbours(state: Float[Tensor, "N C h w"], window: int) -> list[Float[Tensor, "N C h w"]]:
    """The map shifted by each offset of the window, zero from outside; views of one padded map."""
    height, width = state.shape[-2:]
    padded = F.pad(state, [window // 2] * 4)
    return [
        padded[..., top : top + height, left : left + width]
        for top in range(window)
        for left in range(window)
    ]
