"""Gramians of unit rows, in which the scale of a gradient has no effect on a solver."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg import on_device
from lightning_mtl.linalg.host import on_host
from lightning_mtl.linalg.rounding import dependence


def cosines_and_norms(
    gramian: Float[Tensor, "K K"],
) -> tuple[Float[Tensor, "K K"], Float[Tensor, " K"]]:
    """C and n with G = diag(n) C diag(n): the cosines between the rows, and their norms.

    Both are float64. A zero row has norm 1 and a zero row of C, its diagonal included, so that
    dividing by n is safe and the row stays zero.
    """
    if not on_host(gramian):
        return on_device.cosines_and_norms(gramian)
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


def solve_units(
    gramian: Float[Tensor, "K K"], right: Float[Tensor, " K"]
) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
    """C⁺ right, by the eigenvalues of C that are not rounding; and the norms of the rows.

    float64 both.
    """
    if not on_host(gramian):
        return on_device.solve_units(gramian, right)
    cosines, norms = cosines_and_norms(gramian)
    values, vectors = torch.linalg.eigh(cosines)
    inverse = torch.where(values > dependence(gramian), 1 / values, torch.zeros_like(values))
    return vectors @ (inverse * (right.double() @ vectors)), norms


class EqualCosines(NamedTuple):
    """The direction with equal cosines to all rows, in the coordinates of unit rows; float64.

    Attributes:
        units: C⁺ 1, least squares where rows depend on each other; zero where no direction exists.
        norms: of the rows; 1 for a zero row.
    """

    units: Float[Tensor, " K"]
    norms: Float[Tensor, " K"]


def equal_cosines(gramian: Float[Tensor, "K K"]) -> EqualCosines:
    """The direction with equal cosines to all rows; none exists for opposed ones."""
    units, norms = solve_units(gramian, torch.ones_like(gramian.diagonal()))
    # The squared length of the direction is 1ᵀ C⁺ 1. Where 1 is outside of the range of C, it is
    # zero but for the rounding of the rows; else at least 1 where the cosines can be equal.
    exists = units.sum() > len(units) * dependence(gramian)
    return EqualCosines(torch.where(exists, units, 0.0), norms)


def impartial_weights(gramian: Float[Tensor, "K K"]) -> Float[Tensor, " K"]:
    """The w with equal projections of d = wᵀJ on all unit rows, and |Σ w| = 1; d opposes no row.

    w ∝ D⁻¹ C⁺ 1: least squares where rows depend on each other; zero where no direction exists.
    """
    units, norms = equal_cosines(gramian)
    weights = units / norms * norms.min()
    total = weights.sum().abs()
    # A sum that is rounding would make the weights infinite.
    smallest = 1e-6 * weights.abs().sum()
    return (weights / torch.where(smallest > 0, total.maximum(smallest), 1.0)).to(gramian)
