"""Quadratic programs over the non-negative orthant, and projections onto the dual cone."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightning_mtl.linalg.unit import resolution, unit_rows

ROUNDS = 6
"""Block pivots before a problem is handed to single ones; 3 to 6 are usual."""

DEPENDENT = 1e-9
"""Squared sine of an angle below which a row counts as dependent on others."""

LARGEST = 1e2
"""How many times as large as the problem's numbers a solution may be before it is distrusted."""

FARTHEST = 1e6
"""How many times as far as the problem's numbers a single pivot may go before it counts as
unbounded, which only rounding can make it."""


def dual_cone(gramian: Float[Tensor, "K K"], targets: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    """For each target u, the v >= u of least vᵀ G v: Jᵀv is Jᵀu projected onto {d: J d >= 0}.

    Quinton & Rey, "Jacobian Descent for Multi-Objective Optimization", 2024, Proposition 1. With
    v = u + s this is s >= 0, G v >= 0, sᵀ G v = 0.

    Returns:
        v, in the Gramian's dtype.
    """
    cosines, norms = unit_rows(gramian)
    scaled = targets.double() * norms
    added = nonnegative_qp(cosines, -scaled @ cosines, resolution(gramian))
    return (targets.double() + added / norms).to(gramian)


def nonnegative_qp(
    matrix: Float[Tensor, "K K"], linear: Float[Tensor, "N K"], tolerance: float
) -> Float[Tensor, "N K"]:
    """The minimisers of 1/2 tᵀ C t - rᵀ t over t >= 0, for every row r of `linear` at once.

    Block principal pivoting (Portugal, Júdice & Vicente, Mathematics of Computation 1994) flips all
    wrong signs together, in a batch of all rows. What it does not settle, because C is singular,
    goes through single pivots, as in the active-set method of Lawson & Hanson (1974), which never
    needs dependent rows: in a batch again.

    Args:
        matrix: C, symmetric, positive semi-definite up to rounding, unit diagonal (or zero rows).
        linear: r, in the range of the cone's problems: bounded below.
        tolerance: relative slack below which a condition counts as met.
    """
    solution = torch.zeros_like(linear)
    scale = linear.abs().amax(1, keepdim=True)
    rows, right = torch.arange(len(linear), device=linear.device), linear
    passive = linear > tolerance * scale
    for _ in range(ROUNDS):
        t, slack = _solve(matrix, right, passive)
        slip = tolerance * t.abs().amax(1, keepdim=True).clamp(scale, LARGEST * scale)
        wrong = torch.where(passive, t, slack) < -slip
        # A singular block does not even give zeros where it should; and its NaN is never below.
        unsettled = (wrong | ~torch.where(passive, slack.abs() <= slip, True)).any(1)
        left = int(unsettled.sum())
        # Rows that are settled are solved once more as they are, unless that is most of the work.
        if left > len(rows) / 2:
            passive = passive ^ wrong
            continue
        solution[rows] = torch.where(unsettled[:, None], solution[rows], t.clamp(min=0))
        if not left:
            return solution
        rows, right, scale = rows[unsettled], right[unsettled], scale[unsettled]
        passive = (passive ^ wrong)[unsettled]
    solution[rows] = _single_pivots(matrix, right, tolerance)
    return solution


def _solve(
    matrix: Float[Tensor, "K K"], right: Float[Tensor, "n K"], passive: Bool[Tensor, "n K"]
) -> tuple[Float[Tensor, "n K"], Float[Tensor, "n K"]]:
    """The t with (C t - r) = 0 where passive and t = 0 elsewhere, and C t - r."""
    both = passive[:, :, None] & passive[:, None, :]
    identity = torch.eye(matrix.shape[0], dtype=matrix.dtype, device=matrix.device)
    factor, _ = torch.linalg.cholesky_ex(torch.where(both, matrix, identity))
    masked = torch.where(passive, right, torch.zeros_like(right))
    t = torch.cholesky_solve(masked[:, :, None], factor)[:, :, 0]
    return t, t @ matrix - right


def _single_pivots(
    matrix: Float[Tensor, "K K"], linear: Float[Tensor, "n K"], tolerance: float
) -> Float[Tensor, "n K"]:
    """The same minimisers, by one change of sign at a time.

    A table holds the slack C t - r of the indices where t = 0, and t where the slack is 0, as
    linear functions of the others. In every row the index of the worst slack enters: its t grows
    until its slack is 0, or until another t is, which then leaves first. An index whose slack does
    not move depends on those that are in; it enters when one of them has left.
    """
    count, size = linear.shape
    every = torch.arange(count, device=linear.device)
    table = matrix.repeat(count, 1, 1)
    value = -linear
    passive = torch.zeros_like(linear, dtype=torch.bool)
    barred = torch.zeros_like(passive)
    entering, level = torch.full_like(every, -1), torch.zeros_like(linear[:, 0])
    scale = linear.abs().amax(1)
    enough = -tolerance * scale
    for _ in range(10 * size):
        worst, index = value.masked_fill(passive | barred, torch.inf).min(1)
        done = (entering < 0) & (worst >= enough)
        if bool(done.all()):
            break
        entering = torch.where(entering < 0, index, entering)
        _, column = _lines(table, passive, entering)
        own = column[every, entering]
        full = torch.where(own > DEPENDENT, -value[every, entering] / own, torch.inf)
        limits = (value / -column).masked_fill(~passive | (column > -DEPENDENT), torch.inf)
        least, blocking = limits.clamp(min=0).min(1)
        enters = full <= least
        stride = torch.minimum(full, least)
        barring = stride > FARTHEST * scale
        idle = barring | done
        stride = stride.masked_fill(idle, 0.0)
        value += stride[:, None] * column
        level += stride
        pivot = torch.where(enters, entering, blocking)
        here = value[every, pivot]
        value[every, pivot] = torch.where(idle, here, torch.where(enters, level, 0.0))
        _exchange(table, passive, pivot, idle)
        barred &= ~(enters & ~idle)[:, None]
        barred[every, entering] |= barring & ~done
        ended = enters | idle
        entering, level = entering.masked_fill(ended, -1), level.masked_fill(ended, 0.0)
    return torch.where(passive, value.clamp(min=0), 0.0)


def _exchange(
    table: Float[Tensor, "n K K"],
    passive: Bool[Tensor, "n K"],
    pivot: Int[Tensor, " n"],
    idle: Bool[Tensor, " n"],
) -> None:
    """Exchange t and slack of one index in every row that is not idle: a sweep of its table."""
    every = torch.arange(len(pivot), device=pivot.device)
    row, column = _lines(table, passive, pivot)
    factor = torch.where(idle, 0.0, -1 / row[every, pivot])
    column[every, pivot] += 1
    row[every, pivot] -= 1
    table.baddbmm_((column * factor[:, None])[:, :, None], row[:, None, :])
    passive[every, pivot] ^= ~idle


def _lines(
    table: Float[Tensor, "n K K"], passive: Bool[Tensor, "n K"], index: Int[Tensor, " n"]
) -> tuple[Float[Tensor, "n K"], Float[Tensor, "n K"]]:
    """The row and the column of one index in every table; they differ between t and slack."""
    every = torch.arange(len(index), device=index.device)
    row, inside = table[every, index], passive[every, index]
    return row, torch.where(passive == inside[:, None], row, -row)
