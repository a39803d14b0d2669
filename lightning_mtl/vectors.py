"""Fields of vectors, `(N, 3, H, W)`, as surface normals are."""

from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["has_length", "length", "unit"]


def length(vectors: Float[Tensor, "N 3 H W"], shortest: float = 0.0) -> Float[Tensor, "N 1 H W"]:
    """The length of each vector, at least `shortest`, in float32."""
    # On a CPU, `norm(dim=1)` of torch 2.15 takes 100 times as long at 288x384.
    return vectors.float().square().sum(dim=1, keepdim=True).clamp(min=shortest**2).sqrt()


def unit(vectors: Float[Tensor, "N 3 H W"], shortest: float = 1e-12) -> Float[Tensor, "N 3 H W"]:
    """Each vector divided by its length in float32; those shorter than `shortest` by `shortest`.

    The gradient is finite everywhere, at a vector of zero length it is at most `1 / shortest`.
    """
    return vectors.float() / length(vectors, shortest)


def has_length(vectors: Float[Tensor, "N 3 H W"]) -> Bool[Tensor, "N 1 H W"]:
    """Where a vector is not zero.

    Not `sum != 0`, which takes a valid normal such as (1, -1, 0) / sqrt(2) for a missing one.
    """
    return (vectors != 0).any(dim=1, keepdim=True)
