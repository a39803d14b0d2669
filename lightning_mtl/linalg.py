"""Small exact solvers on (K, K) matrices: float64 inside, whatever the scale of the gradients."""

import torch
from jaxtyping import Float
from torch import Tensor

TOLERANCE = 1e-13
"""Relative slack below which a KKT condition counts as met; about 1000 roundings of float64."""


def simplex_min_norm(gramian: Float[Tensor, "K K"]) -> Float[Tensor, " K"]:
    """argmin wᵀ G w over the simplex {w >= 0, Σ w = 1}, exactly.

    Wolfe, "Finding the nearest point in a polytope", Mathematical Programming 1976: an active set of
    vertices grows by the one that violates w_j > 0 ⇒ (G w)_j = wᵀ G w the most and shrinks by those
    whose weight would turn negative. It ends after finitely many steps at a KKT point; conditions are
    judged relative to the norms of the rows, so a scale of 1e-12 is as good as 1.

    Args:
        gramian: symmetric, positive semi-definite, finite.

    Returns:
        The weights, in the Gramian's dtype. Where rows are zero, they share the weight equally: zero
        is then in the hull.
    """
    matrix = gramian.double()
    norms = matrix.diagonal().clamp(min=0).sqrt()
    zero = norms == 0
    if bool(zero.any()):
        return (zero / zero.sum()).to(gramian)
    matrix = matrix / norms.max().square()
    norms = norms / norms.max()
    active = [int(norms.argmin())]
    weights = torch.zeros_like(norms)
    weights[active[0]] = 1.0
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
    """argmin uᵀ M u with Σ u = 1: C y = λ b, bᵀ y = 1 for u = y / norms, unit rows C, b = 1 / norms."""
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
