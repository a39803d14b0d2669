"""The best common improvement within a ball around a direction."""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from lightning_mtl.linalg import on_device
from lightning_mtl.linalg.cosines import cosines_and_norms
from lightning_mtl.linalg.host import arrays, few_elsewhere
from lightning_mtl.linalg.pivots import Ridged
from lightning_mtl.linalg.rounding import resolution

QUICK = 8
"""Rounds in which the level and the rows that matter change together; three or four are usual."""

SURE = 100
"""Levels that are tried where these do not end; five are usual."""


def max_min_in_ball(
    gramian: Float[Tensor, "K K"], center: Float[Tensor, " K"], radius: Float[Tensor, ""]
) -> Float[Tensor, " K"]:
    """The v >= 0 whose d = Jᵀ(center + v) maximises min_i g_i·d over |d - Jᵀ center| <= radius.

    The least deviation that lifts the minimum to a level μ is a quadratic program in v, and |d -
    Jᵀ center| a convex function of μ. Given the rows that matter it is the root of a quadratic in
    μ; what is wrong with these rows at the μ where it meets the radius tells better ones, until
    nothing is wrong: an exact answer. Where the level cannot rise any further inside the ball (0
    in the convex hull of the gradients), it is 0, and the smallest deviation that reaches it is
    the answer.

    Args:
        gramian: symmetric, positive semi-definite, finite.
        center: weights of the centre.
        radius: of the ball, in the units of the gradients.

    Returns:
        v, in float64; 0 for a zero row, which counts as removed.
    """
    if few_elsewhere(gramian):
        return on_device.max_min_in_ball(gramian, center, radius)
    kept = gramian.diagonal() > 0
    if not bool(kept.all()):
        added = torch.zeros_like(kept, dtype=torch.float64)
        if bool(kept.any()):
            added[kept] = max_min_in_ball(gramian[kept][:, kept], center[kept], radius)
        return added
    cosines, norms, middle = arrays(*cosines_and_norms(gramian), center)
    if not float(radius):
        return torch.zeros_like(gramian.diagonal(), dtype=torch.float64)
    need = norms.min() / norms
    reached = cosines @ (middle * norms)
    problem = _Problem(Ridged(cosines, resolution(gramian)), need, reached, float(radius))
    t = problem.solve_quickly()
    if t is None:
        t = problem.solve_surely()
    return torch.from_numpy(t / norms).to(gramian.device)


class _Problem:
    """Which level μ has |e| = radius, for the shortest e = Σ t_i u_i that lifts all rows to it.

    In the coordinates of unit rows u, t >= 0 and C t >= μ need - reached, one of them an equation
    for every row.

    Args:
        ridged: C.
        need: how far along its unit row a task must get per unit of level.
        reached: how far it is at the centre.
        radius: of the ball.
    """

    def __init__(
        self,
        ridged: Ridged,
        need: Float[ndarray, " K"],
        reached: Float[ndarray, " K"],
        radius: float,
    ) -> None:
        self.ridged, self.need, self.reached, self.radius = ridged, need, reached, radius
        self.sides = np.stack([need, reached])

    def solve_quickly(self) -> Float[ndarray, " K"] | None:
        """The t, if flips of wrong signs find the rows that matter while the level follows them."""
        start = self.reached / self.need
        passive = (start <= start.min())[None]
        for _ in range(QUICK):
            lines = self._lines(passive)
            if self._dependent(lines[0]):
                return None
            level = self._level(lines)
            t = level * lines[0] - lines[1]
            right = level * self.need - self.reached
            _, wrong = self.ridged.check(t[None], right[None], passive)
            if not wrong.any():
                return self._refined(lines, passive)
            passive = passive ^ wrong
        return None

    def solve_surely(self) -> Float[ndarray, " K"]:
        """The t, by the rows that matter at each level, and a bracket around the level.

        Above 0 there is no level where the hull of the rows holds zero.
        """
        low = float((self.reached / self.need).min())
        high = float(((self.reached + self.radius) / self.need).min())
        passive = (self.reached < 0)[None]
        if low < 0:
            length, passive = self._at(0.0, passive)
            if length > self.radius:
                high = 0.0
            elif self._holds_zero():
                return self._of_level(0.0, passive)
            else:
                low = 0.0
        for _ in range(SURE):
            lines = self._lines(passive)
            level = math.nan if self._dependent(lines[0]) else self._level(lines)
            inside = low < level < high
            if not inside:
                level = (low + high) / 2
            length, settled = self._at(level, passive)
            if inside and np.array_equal(settled, passive):
                t = self._refined(lines, passive)
                if t is not None:
                    return t
            passive = settled
            low, high = (low, level) if length > self.radius else (level, high)
        return self._of_level(low, passive)

    def _lines(self, passive: Bool[ndarray, "1 K"]) -> Float[ndarray, "2 K"]:
        """The x and y of t = μ x - y, given the rows that matter."""
        return self.ridged.solve(self.sides, passive.repeat(2, axis=0))

    def _refined(
        self, lines: Float[ndarray, "2 K"], passive: Bool[ndarray, "1 K"]
    ) -> Float[ndarray, " K"] | None:
        """The t without the ridge; `None` if signs are wrong then, of rows next to dependent."""
        lines = self.ridged.refine(lines, passive.repeat(2, axis=0))
        level = self._level(lines)
        t, right = (level * lines[0] - lines[1])[None], level * self.need - self.reached
        return np.maximum(t[0], 0.0) if self.ridged.holds(t, right[None], passive) else None

    def _of_level(self, level: float, passive: Bool[ndarray, "1 K"]) -> Float[ndarray, " K"]:
        """The t of a level that the ball reaches."""
        right = (level * self.need - self.reached)[None]
        return self.ridged.finish(right, self.ridged.settle(right, passive))[0]

    def _dependent(self, x: Float[ndarray, " K"]) -> bool:
        """Whether C x = 0 but for the ridge: no level is in reach of the rows that matter."""
        return self.ridged.ridge * float(x @ x) >= float(x @ self.need) / 2

    def _level(self, lines: Float[ndarray, "2 K"]) -> float:
        """The μ where t = μ x - y meets the radius, or comes nearest to it."""
        (square, middle), (_, length) = (lines @ self.sides.T).tolist()
        if square <= 0:  # no rows: t is zero whatever the level
            return 0.0
        root = middle * middle - square * (length - self.radius**2)
        return (middle + math.sqrt(max(root, 0.0))) / square

    def _at(
        self, level: float, passive: Bool[ndarray, "1 K"]
    ) -> tuple[float, Bool[ndarray, "1 K"]]:
        """|e| and the rows that matter at a level."""
        right = (level * self.need - self.reached)[None]
        t, passive = self.ridged.settle(right, passive)
        return math.sqrt(max(float(t[0] @ right[0]), 0.0)), passive

    def _holds_zero(self) -> bool:
        """Whether zero is in the convex hull of the rows."""
        every = np.ones_like(self.sides[:1], dtype=bool)
        return self._dependent(self.ridged.settle(self.sides[:1], every).t[0])
