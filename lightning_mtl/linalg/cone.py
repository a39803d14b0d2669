"""Quadratic programs over the non-negative orthant, and projections onto the dual cone."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mtl.linalg.unit import resolution, unit_rows

ROUNDS = 12
"""Block pivots before a problem is handed to the slow, safe method; 3 to 6 are usual."""

PATIENCE = 3
"""Block pivots that may fail to reduce the number of wrong signs before single ones are made."""

LARGEST = 1e2
"""How many times as large as the problem's numbers a solution may be before it is distrusted."""


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
    goes row by row through the active-set method of Lawson & Hanson (1974), which never needs
    dependent rows.

    Args:
        matrix: C, symmetric, positive semi-definite up to rounding, unit diagonal (or zero rows).
        linear: r, in the range of the cone's problems: bounded below.
        tolerance: relative slack below which a condition counts as met.
    """
    solution = torch.zeros_like(linear)
    scale = linear.abs().amax(1)
    rows = (scale > 0).nonzero().flatten()
    passive = linear[rows] > tolerance * scale[rows, None]
    wrong_before = torch.full_like(rows, matrix.shape[0] + 1)
    patience = torch.full_like(rows, PATIENCE)
    for _ in range(ROUNDS):
        if not len(rows):
            return solution
        right = linear[rows]
        t, slack = _solve(matrix, right, passive)
        slip = (tolerance * t.abs().amax(1).clamp(scale[rows], LARGEST * scale[rows]))[:, None]
        wrong = torch.where(passive, ~(t >= -slip), ~(slack >= -slip))
        count = wrong.sum(1)
        settled = (count == 0) & ((slack.abs() <= slip) | ~passive).all(1)
        solution[rows[settled]] = t[settled].clamp(min=0)
        better = count < wrong_before
        patience = torch.where(better, torch.full_like(patience, PATIENCE), patience - 1)
        wrong_before = torch.minimum(wrong_before, count)
        flips = torch.where((patience >= 0)[:, None], wrong, _last(wrong))
        keep = ~settled
        passive, rows = (passive ^ flips)[keep], rows[keep]
        wrong_before, patience = wrong_before[keep], patience[keep]
    for row in rows.tolist():
        solution[row] = _active_set(matrix, linear[row], tolerance)
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


def _last(wrong: Bool[Tensor, "n K"]) -> Bool[Tensor, "n K"]:
    """Only the last wrong sign of each row: Murty's rule, which never cycles."""
    after = wrong.flip(1).cumsum(1).flip(1)
    return wrong & (after == 1)


def _active_set(
    matrix: Float[Tensor, "K K"], right: Float[Tensor, " K"], tolerance: float
) -> Float[Tensor, " K"]:
    """The same for one row: indices enter one at a time, never a dependent one."""
    t = torch.zeros_like(right)
    active: list[int] = []
    barred: list[int] = []
    for _ in range(10 * len(right)):
        slack = matrix @ t - right
        slack[active + barred] = torch.inf
        entering = int(slack.argmin())
        scale = float(right.abs().max())
        if float(slack[entering]) >= -tolerance * min(max(float(t.max()), scale), LARGEST * scale):
            break
        trial = [*active, entering]
        target = _face(matrix, right, trial, tolerance)
        # What rounding alone lets in would have to leave at once.
        if target is None or float(target[-1]) <= 0:
            barred.append(entering)
            continue
        t, active = _retreat(matrix, right, t, trial, target, tolerance)
        barred = []
    return t


def _face(
    matrix: Tensor, right: Tensor, active: list[int], tolerance: float
) -> Float[Tensor, " k"] | None:
    """The unconstrained minimiser on `active`; none if the last index depends on the others."""
    factor, info = torch.linalg.cholesky_ex(matrix[active][:, active])
    if int(info) or float(factor[-1, -1]) ** 2 <= tolerance:
        return None
    return torch.cholesky_solve(right[active][:, None], factor)[:, 0]


def _retreat(
    matrix: Tensor,
    right: Tensor,
    t: Tensor,
    active: list[int],
    target: Tensor,
    tolerance: float,
) -> tuple[Tensor, list[int]]:
    """Walk to `target`, dropping the indices that would turn negative on the way."""
    while bool((target <= 0).any()):
        here = t[active]
        leaving = target <= 0
        stride = (here / (here - target))[leaving].clamp(0.0, 1.0)
        moved = here + stride.min() * (target - here)
        keep = ~(leaving & (moved <= tolerance * moved.max()))
        # Rounding must not keep them all: the one that stopped the walk goes.
        if bool(keep.all()):
            keep[int(torch.where(leaving, moved, torch.inf).argmin())] = False
        t = torch.zeros_like(t)
        active = [index for index, kept in zip(active, keep.tolist(), strict=True) if kept]
        t[active] = moved[keep]
        found = _face(matrix, right, active, 0.0) if active else right[:0]
        if found is None:
            return t, active
        target = found
    t = torch.zeros_like(t)
    t[active] = target
    return t, active
