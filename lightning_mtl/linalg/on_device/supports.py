"""Quadratic programs over the non-negative orthant, by trying all supports at once."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg.rounding import RIDGE, resolution

PROXIMAL_STEPS = 2
"""Each multiplies what a ridge ε has changed by ε / (λ + ε), for an eigenvalue λ that is not 0."""

NEGATIVE = 1e-12
"""How far below zero an unknown may be, in units of the largest one: rounding, cut off."""


class Candidates(NamedTuple):
    """What each support would have: zeros outside of it, and inside (C + ε I) t = r.

    Attributes:
        t: the solutions.
        sides: y with |y|² = rᵀ t, which is exact even where t is large.
    """

    t: Float[Tensor, "N S K"]
    sides: Float[Tensor, "N S K"]


class Supports:
    """The Cholesky factors of all 2^K principal submatrices of C + ε I, the empty one included.

    The ridge makes a minimiser unique: of many it is (nearly) the shortest, in which equal rows
    share alike.

    Args:
        matrix: C, unit diagonal or zero rows, positive semi-definite up to rounding.
        gramian: it is of; its dtype bounds the ridge from below.

    Attributes:
        ridge: ε.
        roots: the inverse factors R, RᵀR = (C + ε I)⁻¹ inside of the support, zero outside.
    """

    def __init__(self, matrix: Float[Tensor, "K K"], gramian: Float[Tensor, "K K"]) -> None:
        size, device = len(matrix), matrix.device
        self.ridge = max(RIDGE, resolution(gramian))
        identity = torch.eye(size, dtype=matrix.dtype, device=device)
        codes = torch.arange(1 << size, device=device).unsqueeze(1)
        inside = (codes >> torch.arange(size, device=device)).bitwise_and_(1).bool()
        both = inside.unsqueeze(2) & inside.unsqueeze(1)
        ridged = torch.add(matrix, identity, alpha=self.ridge)
        factors = torch.linalg.cholesky_ex(torch.where(both, ridged, identity)).L
        self.roots = torch.linalg.solve_triangular(factors, identity, upper=False).mul_(both)
        # For the products with all of them at once.
        self._flat = self.roots.flatten(0, 1).T

    def solve(self, right: Float[Tensor, "N K"]) -> Candidates:
        """The candidates for every row r."""
        sides = (right @ self._flat).view(len(right), *self.roots.shape[:2])
        return Candidates(torch.einsum("nsi,sij->nsj", sides, self.roots), sides)

    def best(
        self, t: Float[Tensor, "N S K"], value: Float[Tensor, "N S"]
    ) -> Float[Tensor, "N 1 1"]:
        """The index of the support of largest value among those with t >= 0."""
        low, high = t.aminmax(dim=2)
        feasible = low >= high * -NEGATIVE
        return torch.where(feasible, value, -torch.inf).argmax(1).view(-1, 1, 1)

    def minimise_ridged(self, linear: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        """The minimiser of 1/2 tᵀ (C + ε I) t - rᵀ t over t >= 0, for every row r.

        It is the best of the minimisers of all supports that are in the orthant: there, the minimum
        is -rᵀ t / 2.
        """
        t, sides = self.solve(linear)
        index = self.best(t, torch.linalg.vector_norm(sides, dim=2))
        return t.gather(1, index.expand(-1, 1, t.shape[2])).squeeze(1).clamp_(min=0)

    def minimise(self, linear: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        """A minimiser of 1/2 tᵀ C t - rᵀ t over t >= 0, for every row r; bounded below."""
        t = self.minimise_ridged(linear)
        for _ in range(PROXIMAL_STEPS):
            t = self.minimise_ridged(torch.add(linear, t, alpha=self.ridge))
        return t
