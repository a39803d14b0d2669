"""Which unknowns of a linear complementarity problem are positive, and their values."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mtl.linalg.rounding import RIDGE

REFINEMENTS = 2
"""Each multiplies what the ridge has changed by ε / (λ + ε), for an eigenvalue λ that is not 0."""

ROUNDS = 25
"""Block pivots before a problem goes to the active-set method; one to six are usual."""

FULL = 4
"""Block pivots in which all wrong signs flip. Later only the worst do, since all together might
never settle."""

WORST = 0.7
"""How wrong a sign must be to flip later, as a share of the worst."""


class Settled(NamedTuple):
    """The t >= 0 with (C + ε I) t - r >= 0, one of them zero for every unknown; in rows.

    Attributes:
        t: solutions.
        passive: which unknowns are positive.
    """

    t: Float[Tensor, "N K"]
    passive: Bool[Tensor, "N K"]


class Ridged:
    """C + ε I, and the problems of its principal submatrices, in batches.

    Where rows depend on each other, a consistent system of C has many solutions; the ridge chooses
    (nearly) the shortest, in which equal rows share alike.

    Args:
        matrix: C, unit diagonal or zero rows, positive semi-definite up to rounding.
        tolerance: the rounding of C; ε is at least as large.
    """

    def __init__(self, matrix: Float[Tensor, "K K"], tolerance: float) -> None:
        self.ridge = RIDGE
        if tolerance > RIDGE:
            # Of a low precision, which may have made C less definite still.
            lowest = float(torch.linalg.eigvalsh(matrix)[0])
            self.ridge = max(tolerance, -2 * lowest)
        self.tolerance = tolerance
        self.identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
        self.matrix = torch.add(matrix, self.identity, alpha=self.ridge)
        self._zero = matrix.new_zeros(())

    def solve(
        self, right: Float[Tensor, "n K"], passive: Bool[Tensor, "n K"]
    ) -> Float[Tensor, "n K"]:
        """The t that is 0 but where passive, and there (C + ε I) t = r."""
        return self._solve(right, passive, self._factor(passive))

    def refine(self, t: Float[Tensor, "n K"], passive: Bool[Tensor, "n K"]) -> Float[Tensor, "n K"]:
        """From a `solve` for some right side towards the t with C t = r."""
        factor, added = self._factor(passive), t
        for _ in range(REFINEMENTS):
            added = self._solve(self.ridge * added, passive, factor)
            t = t + added
        return t

    def finish(self, right: Float[Tensor, "N K"], settled: Settled) -> Float[Tensor, "N K"]:
        """From what `settle` has returned towards the t >= 0 with C t - r >= 0, without the ridge.

        Where rows depend on each other but for their rounding, `refine` may turn the signs of t.
        Those problems are solved again instead, each time around the last solution (proximal
        steps): after each of them C t - r >= -ε |t| holds.

        Args:
            right: r.
            settled: the solution with the ridge, for this r.
        """
        t, passive = settled
        refined = self.refine(t, passive)
        wrong = ~self.holds(refined, right, passive)
        if bool(wrong.any()):
            again, signs = t[wrong], passive[wrong]
            for _ in range(REFINEMENTS):
                again, signs = self.settle(right[wrong] + self.ridge * again, signs)
            refined[wrong] = again
        return refined.clamp(min=0)

    def holds(
        self, t: Float[Tensor, "n K"], right: Float[Tensor, "n K"], passive: Bool[Tensor, "n K"]
    ) -> Bool[Tensor, " n"]:
        """Whether t >= 0 where passive, and else C t - r >= 0, but for what the ridge may leave."""
        slack = torch.addmm(right, t, self.matrix, beta=-1) - self.ridge * t
        return (torch.where(passive, t, slack) >= -self.ridge * _size(t, right)).all(1)

    def check(
        self,
        t: Float[Tensor, "n K"],
        right: Float[Tensor, "n K"],
        passive: Bool[Tensor, "n K"],
    ) -> tuple[Float[Tensor, "n K"], Bool[Tensor, "n K"]]:
        """The slack (C + ε I) t - r, and which signs are wrong: of t where passive, else of it."""
        slack = torch.addmm(right, t, self.matrix, beta=-1)
        return slack, torch.where(passive, t, slack) < -self.tolerance * _size(t, right)

    def settle(self, right: Float[Tensor, "N K"], passive: Bool[Tensor, "N K"]) -> Settled:
        """Solve for all rows at once, by block pivots: flip wrong signs until there are none.

        Portugal, Júdice & Vicente, "A comparison of block pivoting and interior-point algorithms
        for linear least squares problems with nonnegative variables", Mathematics of Computation
        1994. Rows that this does not settle are solved by an active-set method, which cannot fail.

        Args:
            right: r.
            passive: the signs to start from.
        """
        solution, signs = torch.empty_like(right), passive.clone()
        rows = torch.arange(len(right), device=right.device)
        for number in range(ROUNDS):
            t = self.solve(right, passive)
            slack, wrong = self.check(t, right, passive)
            unsettled = wrong.any(1)
            left = int(unsettled.sum())
            if not left and len(t) == len(signs):
                return Settled(t.clamp(min=0), passive)
            if number >= FULL:
                wrong &= _among_worst(torch.where(passive, _relative(t), _relative(slack)))
            # Settled rows are solved once more as they are, unless they are most of them.
            if left <= len(t) / 2:
                solution[rows], signs[rows] = t, passive
                if not left:
                    return Settled(solution.clamp(min=0), signs)
                rows, right = rows[unsettled], right[unsettled]
                passive, wrong = passive[unsettled], wrong[unsettled]
            passive = passive ^ wrong
        solution[rows], signs[rows] = self._active_set(right)
        return Settled(solution.clamp(min=0), signs)

    def _active_set(self, right: Float[Tensor, "n K"]) -> Settled:
        """The same, one unknown entering or leaving at a time, with t >= 0 throughout.

        Lawson & Hanson, "Solving Least Squares Problems", 1974, chapter 23.
        """
        every = torch.arange(len(right), device=right.device)
        t, passive = torch.zeros_like(right), torch.zeros_like(right, dtype=torch.bool)
        arrived = torch.ones_like(passive[:, 0])
        enough = -self.tolerance * right.abs().amax(1)
        for _ in range(10 * right.shape[1]):
            slack = torch.addmm(right, t, self.matrix, beta=-1)
            worst, entering = torch.where(passive, torch.inf, slack).min(1)
            enters = arrived & (worst < enough)
            if not bool((enters | ~arrived).any()):
                break
            passive[every, entering] |= enters
            target = self.solve(right, passive)
            strides = torch.where(passive & (target <= 0), t / (t - target), torch.inf)
            stride, leaving = strides.min(1)
            arrived = stride > 1
            t = torch.lerp(t, target, stride.clamp(max=1).unsqueeze(1))
            passive[every, leaving] &= arrived
            t = torch.where(passive, t, self._zero)
        return Settled(t, passive)

    def _factor(self, passive: Bool[Tensor, "n K"]) -> Float[Tensor, "n K K"]:
        both = passive.unsqueeze(2) & passive.unsqueeze(1)
        return torch.linalg.cholesky_ex(torch.where(both, self.matrix, self.identity)).L

    def _solve(
        self,
        right: Float[Tensor, "n K"],
        passive: Bool[Tensor, "n K"],
        factor: Float[Tensor, "n K K"],
    ) -> Float[Tensor, "n K"]:
        masked = torch.where(passive, right, self._zero)
        return torch.cholesky_solve(masked.unsqueeze(2), factor).squeeze(2)


def _size(t: Float[Tensor, "n K"], right: Float[Tensor, "n K"]) -> Float[Tensor, "n 1"]:
    """The largest absolute value of t or r, for each problem."""
    return torch.maximum(t.abs().amax(1, keepdim=True), right.abs().amax(1, keepdim=True))


def _relative(values: Float[Tensor, "n K"]) -> Float[Tensor, "n K"]:
    """The values in units of the largest absolute value of their row."""
    return values / values.abs().amax(1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)


def _among_worst(values: Float[Tensor, "n K"]) -> Bool[Tensor, "n K"]:
    """Which values are about as negative as the most negative one of their row."""
    return values <= WORST * values.amin(1, keepdim=True)
