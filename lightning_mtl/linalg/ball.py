"""The best common improvement within a ball around a direction."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg.unit import resolution, unit_rows

GUESSES = 8
"""Sets of rows to try before the path is followed."""


def max_min_in_ball(
    gramian: Float[Tensor, "K K"], center: Float[Tensor, " K"], radius: Float[Tensor, ""]
) -> Float[Tensor, " K"]:
    """The v >= 0 whose d = Jᵀ(center + v) maximises min_i g_i·d over |d - Jᵀ center| <= radius.

    The least deviation that lifts the minimum to a level μ is a quadratic program in v whose
    solution is piecewise linear in μ. Its path is followed from v = 0, one row entering or leaving
    at a time, up to the surface of the ball: an exact answer after about as many steps as rows
    matter. Where the level cannot rise any further inside the ball (0 in the convex hull of the
    gradients), the path ends there, with the smallest deviation that reaches the best level.

    Args:
        gramian: without zero rows.
        center: weights of the centre.
        radius: of the ball, in the units of the gradients.

    Returns:
        v, in float64.
    """
    cosines, norms = unit_rows(gramian)
    if not float(radius):
        return torch.zeros_like(norms)
    need = norms.min() / norms
    reached = cosines @ (center.double() * norms)
    tolerance = resolution(gramian)
    t = _guess(cosines, need, reached, float(radius), tolerance)
    if t is None:
        t = _Path(cosines, need, reached, tolerance).follow(float(radius))
    return t / norms


def _guess(
    cosines: Tensor, need: Tensor, reached: Tensor, radius: float, tolerance: float
) -> Float[Tensor, " K"] | None:
    """The answer, if a few flips of wrong signs find the rows that matter; it is then exact.

    With these rows known, t = μ x - y, and |e| = radius is a quadratic equation for μ.
    """
    rows = torch.stack([need, reached], 1)
    identity = torch.eye(len(need), dtype=need.dtype, device=need.device)
    level = reached / need
    active = level <= level.min()
    for _ in range(GUESSES):
        both = active[:, None] & active
        factor, info = torch.linalg.cholesky_ex(torch.where(both, cosines, identity))
        if int(info) or float(factor.diagonal().min()) ** 2 <= tolerance:
            return None
        right = rows * active[:, None]
        x, y = torch.cholesky_solve(right, factor).T
        (square, middle), (_, length) = (torch.stack([x, y]) @ right).tolist()
        root = middle * middle - square * (length - radius * radius)
        if square <= 0 or root < 0:
            return None
        best = (middle + math.sqrt(root)) / square
        t = best * x - y
        slack = cosines @ t - best * need + reached
        slip = tolerance * float(t.abs().max())
        wrong = torch.where(active, t < -slip, slack < -slip)
        if not bool(wrong.any()):
            return t.clamp(min=0)
        active = active ^ wrong
    return None


class _Path:
    """t(μ), the coefficients of unit rows: t >= 0, C t >= μ need - reached, complementary.

    Args:
        cosines: C.
        need: how far along its unit row a task must get per unit of level.
        reached: how far it is at the centre.
        tolerance: what counts as a dependent row.
    """

    def __init__(self, cosines: Tensor, need: Tensor, reached: Tensor, tolerance: float) -> None:
        self.cosines, self.need, self.tolerance = cosines, need, tolerance
        self.t = torch.zeros_like(need)
        level = reached / need
        self.slack = reached - level.min() * need
        self.active = [int(level.argmin())]

    def follow(self, radius: float) -> Float[Tensor, " K"]:
        """The t at the surface of the ball, or where the path ends."""
        for _ in range(20 * len(self.t)):
            active = self.active
            rows = self.cosines[active]
            step = _solve(rows[:, active], self.need[active])
            if step is None:
                break
            pull = step @ rows
            rate = pull - self.need
            rate[active] = 0.0
            here = self.t[active]
            gone = float(here @ rows @ self.t)
            surface = _surface(gone, float(pull @ self.t), float(step @ pull[active]), radius)
            noise = self.tolerance * float(step.abs().max())
            entering, enter = _first(self.slack.clamp(min=0), rate, noise)
            leaving, leave = _first(here, step, noise)
            stride = min(surface, enter, leave)
            if stride == math.inf:
                break
            self.t[active] = (here + stride * step).clamp(min=0)
            self.slack = self.slack + stride * rate
            if stride == surface:
                break
            if stride == leave:
                self.t[active.pop(leaving)] = 0.0
            elif not self._enter(entering):
                break
            if not self.active:
                break
        return self.t

    def _enter(self, row: int) -> bool:
        """Let a row in, in exchange for another where it depends on those inside."""
        active = self.active
        inside = self.cosines[active][:, active]
        shares = _solve(inside, self.cosines[row, active])
        self.slack[row] = 0.0
        if shares is None:
            return False
        if 1 - float(shares @ self.cosines[row, active]) <= self.tolerance:
            # Shares are worth half the digits only: they solve a nearly singular system.
            noise = math.sqrt(self.tolerance) * float(shares.abs().max())
            leaving, stride = _first(self.t[active], -shares, noise)
            if stride == math.inf:
                return False
            self.t[active] = (self.t[active] - stride * shares).clamp(min=0)
            self.t[row] = stride
            self.t[active.pop(leaving)] = 0.0
        active.append(row)
        return True


def _first(values: Tensor, rates: Tensor, noise: float) -> tuple[int, float]:
    """Which of the non-negative values reaches zero first, and after which stride."""
    strides = torch.where(rates < -noise, values / -rates, torch.inf)
    index = int(strides.argmin())
    return index, float(strides[index])


def _surface(length: float, slope: float, square: float, radius: float) -> float:
    """θ > 0 with |e + θ Δ| = radius; `length` = |e|², `slope` = e·Δ, `square` = |Δ|²."""
    if square <= 0:
        return math.inf
    room = max(radius * radius - length, 0.0)
    return room / (slope + math.sqrt(slope * slope + square * room)) if room else 0.0


def _solve(matrix: Float[Tensor, "k k"], right: Float[Tensor, " k"]) -> Float[Tensor, " k"] | None:
    """The solution; none where the rounding of a low precision has made the matrix indefinite."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    return None if int(info) else torch.cholesky_solve(right[:, None], factor)[:, 0]
