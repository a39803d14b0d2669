"""Which unknowns of a linear complementarity problem are positive, and their values."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from lightning_mtl.linalg.rounding import RIDGE

REFINEMENTS = 2
"""Each multiplies what the ridge has changed by ε / (λ + ε), for an eigenvalue λ that is not 0."""

CLOSE = 1e-8
"""How little a refinement may move a solution, relative to it, to be the last one: the next would
move it by the square."""

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

    t: Float[ndarray, "N K"]
    passive: Bool[ndarray, "N K"]


class Ridged:
    """C + ε I, and the problems of its principal submatrices, in batches.

    Where rows depend on each other, a consistent system of C has many solutions; the ridge chooses
    (nearly) the shortest, in which equal rows share alike.

    It computes with NumPy, whose calls cost less than those of torch where there are few tasks.

    Args:
        matrix: C, unit diagonal or zero rows, positive semi-definite up to rounding; float64.
        tolerance: the rounding of C; ε is at least as large.
    """

    def __init__(self, matrix: Float[ndarray, "K K"], tolerance: float) -> None:
        self.ridge = RIDGE
        if tolerance > RIDGE:
            # Of a low precision, which may have made C less definite still.
            lowest = float(np.linalg.eigvalsh(matrix)[0])
            self.ridge = max(tolerance, -2 * lowest)
        self.tolerance = tolerance
        self.identity = np.eye(len(matrix))
        self.matrix = matrix + self.ridge * self.identity

    def solve(
        self, right: Float[ndarray, "n K"], passive: Bool[ndarray, "n K"]
    ) -> Float[ndarray, "n K"]:
        """The t that is 0 but where passive, and there (C + ε I) t = r."""
        if passive.all():
            return np.linalg.solve(self.matrix, right.T).T
        both = passive[:, :, None] & passive[:, None, :]
        inside = np.where(both, self.matrix, self.identity)
        return np.linalg.solve(inside, np.where(passive, right, 0.0)[:, :, None])[:, :, 0]

    def refine(
        self, t: Float[ndarray, "n K"], passive: Bool[ndarray, "n K"]
    ) -> Float[ndarray, "n K"]:
        """From a `solve` for some right side towards the t with C t = r."""
        added = t
        for _ in range(REFINEMENTS):
            added = self.solve(self.ridge * added, passive)
            t = t + added
            if (_largest(added) < CLOSE * _largest(t)).all():
                break
        return t

    def finish(self, right: Float[ndarray, "N K"], settled: Settled) -> Float[ndarray, "N K"]:
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
        if wrong.any():
            again, signs = t[wrong], passive[wrong]
            for _ in range(REFINEMENTS):
                again, signs = self.settle(right[wrong] + self.ridge * again, signs)
            refined[wrong] = again
        return np.maximum(refined, 0.0)

    def holds(
        self, t: Float[ndarray, "n K"], right: Float[ndarray, "n K"], passive: Bool[ndarray, "n K"]
    ) -> Bool[ndarray, " n"]:
        """Whether t >= 0 where passive, and else C t - r >= 0, but for what the ridge may leave."""
        slack = t @ self.matrix - right - self.ridge * t
        return np.all(np.where(passive, t, slack) >= -self.ridge * _size(t, right), axis=1)

    def check(
        self,
        t: Float[ndarray, "n K"],
        right: Float[ndarray, "n K"],
        passive: Bool[ndarray, "n K"],
    ) -> tuple[Float[ndarray, "n K"], Bool[ndarray, "n K"]]:
        """The slack (C + ε I) t - r, and which signs are wrong: of t where passive, else of it."""
        slack = t @ self.matrix - right
        return slack, np.where(passive, t, slack) < -self.tolerance * _size(t, right)

    def settle(self, right: Float[ndarray, "N K"], passive: Bool[ndarray, "N K"]) -> Settled:
        """Solve for all rows at once, by block pivots: flip wrong signs until there are none.

        Portugal, Júdice & Vicente, "A comparison of block pivoting and interior-point algorithms
        for linear least squares problems with nonnegative variables", Mathematics of Computation
        1994. Rows that this does not settle are solved by an active-set method, which cannot fail.

        Args:
            right: r.
            passive: the signs to start from.
        """
        solution, signs = np.empty_like(right), passive.copy()
        rows = np.arange(len(right))
        for number in range(ROUNDS):
            t = self.solve(right, passive)
            slack, wrong = self.check(t, right, passive)
            unsettled = wrong.any(1)
            left = int(unsettled.sum())
            if not left and len(t) == len(signs):
                return Settled(np.maximum(t, 0.0), passive)
            if number >= FULL:
                wrong &= _among_worst(np.where(passive, _relative(t), _relative(slack)))
            # Settled rows are solved once more as they are, unless they are most of them.
            if left <= len(t) / 2:
                solution[rows], signs[rows] = t, passive
                if not left:
                    return Settled(np.maximum(solution, 0.0), signs)
                rows, right = rows[unsettled], right[unsettled]
                passive, wrong = passive[unsettled], wrong[unsettled]
            passive = passive ^ wrong
        solution[rows], signs[rows] = self._active_set(right)
        return Settled(np.maximum(solution, 0.0), signs)

    def _active_set(self, right: Float[ndarray, "n K"]) -> Settled:
        """The same, one unknown entering or leaving at a time, with t >= 0 throughout.

        Lawson & Hanson, "Solving Least Squares Problems", 1974, chapter 23.
        """
        every = np.arange(len(right))
        t, passive = np.zeros_like(right), np.zeros_like(right, dtype=bool)
        arrived = np.ones_like(passive[:, 0])
        enough = -self.tolerance * _largest(right)[:, 0]
        for _ in range(10 * right.shape[1]):
            slack = np.where(passive, np.inf, t @ self.matrix - right)
            entering = slack.argmin(1)
            enters = arrived & (slack[every, entering] < enough)
            if not (enters | ~arrived).any():
                break
            passive[every, entering] |= enters
            target = self.solve(right, passive)
            blocked = passive & (target <= 0)
            strides = np.divide(t, t - target, out=np.full_like(t, np.inf), where=blocked)
            leaving = strides.argmin(1)
            stride = strides[every, leaving]
            arrived = stride > 1
            t = t + np.minimum(stride, 1.0)[:, None] * (target - t)
            passive[every, leaving] &= arrived
            t = np.where(passive, t, 0.0)
        return Settled(t, passive)


def _size(t: Float[ndarray, "n K"], right: Float[ndarray, "n K"]) -> Float[ndarray, "n 1"]:
    """The largest absolute value of t or r, for each problem."""
    return np.maximum(_largest(t), _largest(right))


def _largest(values: Float[ndarray, "n K"]) -> Float[ndarray, "n 1"]:
    return np.abs(values).max(1, keepdims=True)


def _relative(values: Float[ndarray, "n K"]) -> Float[ndarray, "n K"]:
    """The values in units of the largest absolute value of their row."""
    return values / np.maximum(_largest(values), np.finfo(values.dtype).tiny)


def _among_worst(values: Float[ndarray, "n K"]) -> Bool[ndarray, "n K"]:
    """Which values are about as negative as the most negative one of their row."""
    return values <= WORST * values.min(1, keepdims=True)
