"""Gradients whose singular values are made equal."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_mtl.linalg.on_device.cosines import cosines_and_norms
from lightning_mtl.linalg.on_device.rotations import orthogonal_columns
from lightning_mtl.linalg.on_device.units import range_of
from lightning_mtl.linalg.rounding import dependence


def equal_singular_values(
    gramian: Float[Tensor, "K K"], level: Literal["min", "median", "rmse"]
) -> Float[Tensor, " K"]:
    """The weights √λ V Λ^{-1/2} Vᵀ 1/K over the eigenvalues of G = V Λ Vᵀ that are not zero."""
    cosines, norms = cosines_and_norms(gramian)
    root, rank = _root(cosines, dependence(gramian))
    columns = orthogonal_columns((norms / norms.max()).unsqueeze(1) * root)
    squares = columns.square().sum(0)
    ordered = squares.sort(descending=True).values
    # Norms over more decades than the dtype has digits.
    count = torch.minimum(rank, (ordered > 0).sum())
    last = count.clamp(min=1) - 1
    kept = squares >= ordered.gather(0, last)
    inverse = torch.where(kept, squares, torch.inf).rsqrt()
    directions = columns * inverse
    mean = directions.sum(0) / len(norms)
    scale = _level(ordered, last, level).sqrt() * inverse
    weights = torch.where(count > 0, directions @ (scale * mean), 1 / len(norms))
    return weights.to(gramian)


def _root(
    cosines: Float[Tensor, "K K"], threshold: float
) -> tuple[Float[Tensor, "K n"], Int[Tensor, " 1"]]:
    """A root of C without its eigenvalues that are rounding, an even number of columns; its rank.

    Across the range of C the matrix is filled with the identity, which the projection then removes
    from the Cholesky factor.
    """
    identity, onto = range_of(cosines, threshold)
    filled = onto @ cosines @ onto + (identity - onto)
    root = onto @ torch.linalg.cholesky_ex(filled).L
    if len(root) % 2:
        root = torch.nn.functional.pad(root, (0, 1))
    return root, onto.trace().round().long().view(1)


def _level(
    ordered: Float[Tensor, " n"], last: Int[Tensor, " 1"], level: str
) -> Float[Tensor, " 1"]:
    """Of squares in descending order, up to `last`: the least, the lower median or the mean."""
    if level == "min":
        return ordered.gather(0, last)
    if level == "median":
        return ordered.gather(0, last - last // 2)
    return ordered.cumsum(0).gather(0, last) / (last + 1)
