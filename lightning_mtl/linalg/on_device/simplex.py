"""The shortest vector in a convex hull."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg.on_device.cosines import cosines_and_norms
from lightning_mtl.linalg.on_device.supports import PROXIMAL_STEPS, Supports


def simplex_min_norm(
    gramian: Float[Tensor, "K K"], divisors: Float[Tensor, " K"] | None = None
) -> Float[Tensor, " K"]:
    """The minimiser of wᵀ G w over the simplex; where rows are zero, they share it equally."""
    zero = (gramian.diagonal() <= 0).double()
    count = zero.sum()
    weights = nonzero_min_norm(gramian, divisors)
    return torch.where(count > 0, zero / count, weights).to(gramian)


def nonzero_min_norm(
    gramian: Float[Tensor, "K K"], divisors: Float[Tensor, " K"] | None = None
) -> Float[Tensor, " K"]:
    """The same over the rows that are not zero, whose weights are; 1/K where all are zero."""
    cosines, norms = cosines_and_norms(gramian)
    kept = cosines.diagonal() > 0
    if divisors is not None:
        norms = norms / divisors
    border = torch.where(kept, 1 / norms, 0.0)
    border = (border / border.max())[None]
    supports = Supports(cosines, gramian)
    u = _on_border(supports.minimise_ridged(border), border)
    for _ in range(PROXIMAL_STEPS):
        right = torch.addmm(supports.ridge * u, u @ cosines @ u.T, border)
        u = _on_border(supports.minimise_ridged(right), border)
    weights = u[0] / norms
    return torch.where(kept.any(), weights / weights.sum(), 1 / len(norms)).to(gramian)


def _on_border(u: Float[Tensor, "1 K"], border: Float[Tensor, "1 K"]) -> Float[Tensor, "1 K"]:
    return u / (u @ border.T)
