"""Gradients whose singular values are made equal."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg import on_device
from lightning_mtl.linalg.cosines import cosines_and_norms
from lightning_mtl.linalg.host import on_host
from lightning_mtl.linalg.rounding import dependence


def equal_singular_values(
    gramian: Float[Tensor, "K K"], level: Literal["min", "median", "rmse"]
) -> Float[Tensor, " K"]:
    """The weights √λ V Λ^{-1/2} Vᵀ 1/K over the eigenvalues of G = V Λ Vᵀ that are not zero.

    Args:
        gramian: G.
        level: λ, which of these it is: their minimum, lower median or mean.

    Returns:
        The weights of the mean of the rows whose singular values are all √λ, in the Gramian's
        dtype; 1/K where all rows are zero.
    """
    if not on_host(gramian):
        return on_device.equal_singular_values(gramian, level)
    cosines, norms = cosines_and_norms(gramian)
    mean = torch.full_like(norms, 1 / len(norms))
    values, vectors = torch.linalg.eigh(cosines)
    kept = values > dependence(gramian)
    if not bool(kept.any()):
        return mean.to(gramian)
    # G = A Aᵀ. The singular values of A keep the digits that the eigenvalues of G would lose where
    # norms are very unequal.
    root = norms[:, None] * vectors[:, kept] * values[kept].sqrt()
    directions, singular, _ = torch.linalg.svd(root, full_matrices=False)
    # Norms over more decades than the dtype has digits.
    directions, singular = directions[:, singular > 0], singular[singular > 0]
    squares = singular.square()
    square = {"min": squares[-1], "median": squares.median(), "rmse": squares.mean()}[level]
    return (directions @ (square.sqrt() / singular * (mean @ directions))).to(gramian)
