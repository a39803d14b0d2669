"""Quadratic programs over the simplex, and projections onto it."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg import on_device
from lightning_mtl.linalg.cosines import cosines_and_norms
from lightning_mtl.linalg.host import arrays, few_elsewhere
from lightning_mtl.linalg.pivots import Ridged
from lightning_mtl.linalg.rounding import resolution

PROXIMAL_STEPS = 3
"""Each multiplies what a ridge ε has changed by ε / (λ + ε), for an eigenvalue λ that is not 0."""

CLOSE = 1e-6
"""How little such a step may move unit rows to be the last one: the next moves them by less than
the square."""


def simplex_min_norm(
    gramian: Float[Tensor, "K K"], divisors: Float[Tensor, " K"] | None = None
) -> Float[Tensor, " K"]:
    """The shortest vector in the convex hull of the rows: argmin wᵀ G w, w >= 0, Σ w = 1, exactly.

    With u = n w in the coordinates of unit rows and b = 1 / n: C u >= λ b and u >= 0, one of them
    an equation for every row, and the factor λ of no importance. Scales do not matter: rows of
    1e-12 are as good as of 1.

    Args:
        gramian: symmetric, positive semi-definite, finite.
        divisors: positive numbers to divide the rows by beforehand; 1 by default.

    Returns:
        The weights, in the Gramian's dtype. Where rows are zero, they share the weight equally:
        zero is then in the hull.
    """
    if few_elsewhere(gramian):
        return on_device.simplex_min_norm(gramian, divisors)
    zero = gramian.diagonal() <= 0
    if bool(zero.any()):
        return zero.to(gramian) / zero.sum()
    cosines, norms = arrays(*cosines_and_norms(gramian))
    if divisors is not None:
        norms = norms / arrays(divisors)[0]
    ridged = Ridged(cosines, resolution(gramian))
    border = (norms.min() / norms)[None]
    u, passive = ridged.settle(border, np.ones_like(border, dtype=bool))
    u = u / (u @ border.T)
    for _ in range(PROXIMAL_STEPS):
        before = u
        right = ridged.ridge * u + (u @ cosines @ u.T) * border
        u, passive = ridged.settle(right, passive)
        u = u / (u @ border.T)
        if np.abs(u - before).max() < CLOSE:
            break
    weights = u[0] / norms
    return torch.from_numpy(weights / weights.sum()).to(gramian)


def nonzero_min_norm(
    gramian: Float[Tensor, "K K"], divisors: Float[Tensor, " K"] | None = None
) -> Float[Tensor, " K"]:
    """The same over the rows that are not zero, whose weights are; 1/K where all are zero."""
    if few_elsewhere(gramian):
        return on_device.nonzero_min_norm(gramian, divisors)
    kept = gramian.diagonal() > 0
    if bool(kept.all()):
        return simplex_min_norm(gramian, divisors)
    if not bool(kept.any()):
        return torch.full_like(gramian.diagonal(), 1 / len(gramian))
    weights = torch.zeros_like(gramian.diagonal())
    inside = None if divisors is None else divisors[kept]
    weights[kept] = simplex_min_norm(gramian[kept][:, kept], inside)
    return weights


def project_to_simplex(
    point: Float[Tensor, " K"], shares: Float[Tensor, " K"] | None = None
) -> Float[Tensor, " K"]:
    """The nearest w >= 0 with Σ w = 1: max(point + l, 0), l = min_j (1 - sum of the j largest) / j.

    Held, Wolfe & Crowder, "Validation of subgradient optimization", Mathematical Programming 1974.

    Args:
        point: any.
        shares: 1, 1/2, ... 1/K, for a loop that has them at hand, and whose points are of moderate
            size; those of other points may be beyond 1 / rounding.
    """
    if shares is None:
        shares = 1 / torch.arange(1, len(point) + 1, dtype=point.dtype, device=point.device)
        point = point - point.max()
    sums = point.sort(descending=True).values.cumsum(0)
    lift = torch.addcmul(shares, sums, shares, value=-1).min()
    return (point + lift).relu_()
