"""Fields of vectors, `(N, 3, H, W)`, such as surface normals."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["has_length", "length", "unit"]


def length(vectors: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 1 H W"]:
    """The length of each vector in float32."""
    # On a CPU, `norm(dim=1)` of torch 2.15 takes 100 times as long at 288x384.
    return vectors.float().square().sum(dim=1, keepdim=True).sqrt()


def unit(vectors: Float[Tensor, "N 3 H W"], shortest: float = 0.0) -> Float[Tensor, "N 3 H W"]:
    """Each vector divided by its length in float32; those shorter than `shortest` by `shortest`.

    By default every vector keeps its direction, from 1e-38 to the largest number of float32; the
    zero vector stays zero. The gradient at a vector of zero length is at most `1 / shortest`.
    """
    vectors = vectors.float()
    shortest = max(shortest, torch.finfo(vectors.dtype).tiny)
    # Squares of components below 1e-22 or above 1e19 leave the range of float32, so the largest
    # component is made 1 first. It cancels, so it needs no gradient.
    scale = vectors.detach().abs().amax(dim=1, keepdim=True).clamp(min=shortest)
    scaled = vectors / scale
    square = scaled.square().sum(dim=1, keepdim=True)
    return scaled / square.clamp(min=(shortest / scale).square()).sqrt()


def has_length(vectors: Float[Tensor, "N 3 H W"]) -> Bool[Tensor, "N 1 H W"]:
    """Where a vector is not zero.

    Not `sum != 0`, which takes a valid normal such as (1, -1, 0) / sqrt(2) for a missing one.
    """
    return (vectors != 0).any(dim=1, keepdim=True)
