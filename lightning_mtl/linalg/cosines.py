"""Gramians of unit rows, in which the scale of a gradient has no effect on a solver."""

import torch
from jaxtyping import Float
from torch import Tensor


def cosines_and_norms(
    gramian: Float[Tensor, "K K"],
) -> tuple[Float[Tensor, "K K"], Float[Tensor, " K"]]:
    """C and n with G = diag(n) C diag(n): the cosines between the rows, and their norms.

    Both are float64. A zero row has norm 1 and a zero row of C, its diagonal included, so that
    dividing by n is safe and the row stays zero.
    """
    matrix = gramian.double()
    norms = matrix.diagonal().clamp(min=0).sqrt()
    zero = None if float(norms.min()) > 0 else norms == 0
    if zero is not None:
        norms = norms.masked_fill(zero, 1.0)
    cosines = (matrix / norms.unsqueeze(1) / norms).clamp_(-1.0, 1.0)
    cosines.diagonal().fill_(1.0)
    if zero is not None:
        cosines = cosines.masked_fill(zero | zero.unsqueeze(1), 0.0)
    return cosines, norms


def resolution(gramian: Float[Tensor, "K K"]) -> float:
    """What the dtype cannot tell from zero in a Gramian of unit rows: 16 K roundings, but 1e-3."""
    return min(16 * len(gramian) * torch.finfo(gramian.dtype).eps, 1e-3)


def solve_units(
    gramian: Float[Tensor, "K K"], right: Float[Tensor, " K"]
) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
    """C⁺ right, by the eigenvalues of C that are not rounding; and the norms of the rows.

    float64 both.
    """
    cosines, norms = cosines_and_norms(gramian)
    values, vectors = torch.linalg.eigh(cosines)
    inverse = torch.where(values > resolution(gramian), 1 / values, torch.zeros_like(values))
    return vectors @ (inverse * (right.double() @ vectors)), norms


def impartial_weights(gramian: Float[Tensor, "K K"]) -> Float[Tensor, " K"]:
    """The w with equal projections of d = wᵀJ on all unit rows, and |Σ w| = 1; d opposes no row.

    w ∝ D⁻¹ C⁺ 1: least squares where rows depend on each other; zero where no direction exists.
    """
    solution, norms = solve_units(gramian, torch.ones_like(gramian.diagonal()))
    weights = solution / norms * norms.min()
    total = weights.sum().abs()
    # A sum that is rounding would make the weights infinite.
    smallest = 1e-6 * weights.abs().sum()
    return (weights / torch.where(smallest > 0, total.maximum(smallest), 1.0)).to(gramian)
