"""Quadratic programs over the non-negative orthant, and projections onto the dual cone."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg import on_device
from lightning_mtl.linalg.cosines import cosines_and_norms
from lightning_mtl.linalg.host import arrays, few_elsewhere
from lightning_mtl.linalg.pivots import Ridged
from lightning_mtl.linalg.rounding import resolution


def dual_cone(gramian: Float[Tensor, "K K"], targets: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    """For each target u, the v >= u of least vᵀ G v: Jᵀv is Jᵀu projected onto {d: J d >= 0}.

    Quinton & Rey, "Jacobian Descent for Multi-Objective Optimization", 2024, Proposition 1. With
    v = u + s this is s >= 0, G v >= 0, sᵀ G v = 0.

    Returns:
        v, in the Gramian's dtype.
    """
    if few_elsewhere(gramian):
        return on_device.dual_cone(gramian, targets)
    cosines, norms = cosines_and_norms(gramian)
    scaled = targets.double() * norms
    added = nonnegative_qp(cosines, -scaled @ cosines, resolution(gramian))
    return (targets.double() + added / norms).to(gramian)


def nonnegative_qp(
    matrix: Float[Tensor, "K K"], linear: Float[Tensor, "N K"], tolerance: float
) -> Float[Tensor, "N K"]:
    """The minimisers of 1/2 tᵀ C t - rᵀ t over t >= 0, for every row r of `linear` at once.

    Args:
        matrix: C, symmetric, positive semi-definite up to rounding, unit diagonal (or zero rows).
        linear: r, such that the minimum is bounded below.
        tolerance: relative slack below which a condition counts as met.
    """
    inside, right = arrays(matrix, linear)
    ridged = Ridged(inside, tolerance)
    start = right > tolerance * np.abs(right).max(1, keepdims=True)
    return torch.from_numpy(ridged.finish(right, ridged.settle(right, start))).to(linear)
