"""Quadratic programs over the simplex, and projections onto it."""

import torch
from jaxtyping import Float
from torch import Tensor

TOLERANCE = 1e-13
"""Relative slack below which a KKT condition counts as met; about 1000 roundings of float64."""


def simplex_min_norm(gramian: Float[Tensor, "K K"]) -> Float[Tensor, " K"]:
    """The shortest vector in the convex hull of the rows: argmin wᵀ G w, w >= 0, Σ w = 1, exactly.

    Wolfe, "Finding the nearest point in a polytope", Mathematical Programming 1976: an active set
    of vertices grows by the one that violates w_j > 0 ⇒ (G w)_j = wᵀ G w the most and shrinks by
    those whose weight would turn negative. It ends after finitely many steps at a KKT point;
    conditions are judged relative to the norms of the rows, so a scale of 1e-12 is as good as 1.

    Args:
        gramian: symmetric, positive semi-definite, finite.

    Returns:
        The weights, in the Gramian's dtype. Where rows are zero, they share the weight equally:
        zero is then in the hull.
    """
    matrix = gramian.double()
    norms = matrix.diagonal().clamp(min=0).sqrt()
    zero = norms == 0
    if bool(zero.any()):
        return (zero.to(matrix) / zero.sum()).to(gramian)
    matrix = matrix / norms.max().square()
    norms = norms / norms.max()
    weights, active = _start(matrix, norms)
    for _ in range(10 * len(norms)):
        pull = matrix @ weights
        slack = (pull - weights @ pull) / (norms * (weights @ norms))
        slack[active] = 0.0
        entering = int(slack.argmin())
        if float(slack[entering]) > -TOLERANCE:
            break
        active.append(entering)
        weights, active = _shrink(matrix, norms, weights, active)
    return weights.to(gramian)


def _start(matrix: Tensor, norms: Tensor) -> tuple[Tensor, list[int]]:
    """A face whose nearest point lies inside it: all rows, less those that would turn negative.

    Any such face is a valid start; where all rows matter, this one is the answer.
    """
    weights = torch.zeros_like(norms)
    active = list(range(len(norms)))
    while len(active) > 1:
        system = matrix[active][:, active] / norms[active][:, None] / norms[active]
        factor, info = torch.linalg.cholesky_ex(system)
        if int(info) or float(factor.diagonal().min()) < 1e-5:
            break
        u = torch.cholesky_solve((norms.min() / norms[active])[:, None], factor)[:, 0]
        inside = u > 0
        if bool(inside.all()):
            u = u / norms[active]
            weights[active] = u / u.sum()
            return weights, active
        active = [row for row, keep in zip(active, inside.tolist(), strict=True) if keep]
    nearest = int(norms.argmin())
    weights[nearest] = 1.0
    return weights, [nearest]


def _shrink(
    matrix: Tensor, norms: Tensor, weights: Tensor, active: list[int]
) -> tuple[Tensor, list[int]]:
    """Walk to the minimiser over the affine hull of `active`, dropping vertices at its border."""
    while True:
        target = torch.zeros_like(weights)
        target[active] = _affine_min_norm(matrix[active][:, active], norms[active])
        leaving = target[active] <= 0
        if not bool(leaving.any()):
            return target, active
        # The furthest point on the way to the target that is still in the simplex.
        before, after = weights[active][leaving], target[active][leaving]
        stride = (before / (before - after).clamp(min=torch.finfo(before.dtype).tiny)).min()
        weights = weights + stride.clamp(max=1.0) * (target - weights)
        kept = weights[active] > TOLERANCE * weights.max()
        # Rounding must not keep them all: the one that stopped the walk goes.
        if bool(kept.all()):
            kept[int(torch.where(leaving, weights[active], torch.inf).argmin())] = False
        active = [vertex for vertex, keep in zip(active, kept.tolist(), strict=True) if keep]
        inside = torch.zeros_like(weights)
        inside[active] = weights[active]
        weights = inside / inside.sum()


def _affine_min_norm(matrix: Float[Tensor, "k k"], norms: Float[Tensor, " k"]) -> Tensor:
    """The minimiser of uᵀ M u with Σ u = 1.

    With u = y / norms, unit rows C and b = 1 / norms: C y = λ b, bᵀ y = 1.
    """
    k = len(norms)
    border = norms.min() / norms
    system = matrix.new_zeros(k + 1, k + 1)
    system[:k, :k] = matrix / torch.outer(norms, norms)
    system[:k, k] = border
    system[k, :k] = border
    right = matrix.new_zeros(k + 1)
    right[k] = 1.0
    solution, info = torch.linalg.solve_ex(system, right)
    if int(info):
        solution = torch.linalg.pinv(system, hermitian=True) @ right
    u = solution[:k] / norms
    return u / u.sum()


def project_to_simplex(
    point: Float[Tensor, " K"], ranks: Float[Tensor, " K"] | None = None
) -> Float[Tensor, " K"]:
    """The nearest w >= 0 with Σ w = 1: max(point - θ, 0), θ = max_j (sum of the j largest - 1) / j.

    Held, Wolfe & Crowder, "Validation of subgradient optimization", Mathematical Programming 1974.

    Args:
        point: any.
        ranks: the numbers 1 to K, if at hand.
    """
    if ranks is None:
        ranks = torch.arange(1, len(point) + 1, dtype=point.dtype, device=point.device)
    excess = point.sort(descending=True).values.cumsum(0) - 1
    return (point - (excess / ranks).max()).clamp(min=0)
