"""The equation of α-fair weights, G w = w^{-1/α}."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg.unit import resolution, unit_rows

STEPS = 100
"""More than ever needed: about 10, and 30 for nearly opposed rows or large α and unequal norms."""

RIDGE = 1e-8
"""What the smallest eigenvalue of C is lifted to: the rounding of float32 gradients."""

FURTHEST = 8.0
"""How many powers of e a weight may fall in one step."""


def fair_weights(gramian: Float[Tensor, "K K"], alpha: float = 1.0) -> Float[Tensor, " K"]:
    """The positive w with G w = w^{-1/α}, by Newton's method.

    It is the minimiser of the convex 1/2 wᵀ G w - Σ w^{1-p} / (1-p) with p = 1/α, or Σ log w for
    p = 1. In the coordinates u = n w of unit rows, and in relative steps Δu / u, the Hessian is
    well conditioned over any range of norms n.

    Opposed gradients have no finite solution: where the smallest eigenvalue of the Gramian C of
    unit rows is below `RIDGE`, it is lifted to it, which bounds u by 1e4 or so. Other problems are
    solved as they are.

    Returns:
        The weights, in the Gramian's dtype. A zero row, whose weight would be infinite, has 1.
    """
    weights = torch.ones_like(gramian.diagonal())
    kept = gramian.diagonal() > 0
    if not bool(kept.all()):
        weights[kept] = fair_weights(gramian[kept][:, kept], alpha) if bool(kept.any()) else 1.0
        return weights
    cosines, norms = unit_rows(gramian)
    lift = max(RIDGE, resolution(gramian)) - torch.linalg.eigvalsh(cosines)[0]
    cosines.diagonal().add_(lift.clamp(min=0))
    power = 1 / alpha
    # The common factor of the norms changes w by a power only; taken out, it cannot overflow.
    common = norms.log().mean().exp()
    relative = norms / common
    u = _newton(cosines, relative.pow(power - 1), power)
    return (u / relative * common ** (-2 / (1 + power))).to(gramian)


def _newton(
    matrix: Float[Tensor, "K K"], pull: Float[Tensor, " K"], power: float
) -> Float[Tensor, " K"]:
    """The root of f(u) = C u - s u^{-p}, s = `pull`; u f(u) / (s u^{1-p}) is its relative size."""
    u = pull.pow(1 / (1 + power))
    size = float("inf")
    for _ in range(STEPS):
        push = pull if power == 1 else pull * u.pow(1 - power)
        error = u * (matrix @ u) - push
        # u C u + p s u^{1-p}, equilibrated, as weights may differ by many powers of ten.
        scale = torch.addcmul(power * push, u.square(), matrix.diagonal()).rsqrt()
        reach = scale * u
        hessian = torch.outer(reach, reach).mul_(matrix)
        hessian.diagonal().fill_(1.0)
        factor, _ = torch.linalg.cholesky_ex(hessian)
        step = torch.cholesky_solve((scale * error)[:, None], factor)[:, 0].mul_(scale)
        previous, size = size, float(step.abs().max())
        # Upwards as it is; far downwards by a factor, as 1 - step would be negative.
        factors = 1 - step
        if size > 0.5:
            factors = torch.where(step > 0.5, torch.exp(-step.clamp(max=FURTHEST)), factors)
        u = u * factors
        # Quadratic from here on: the rest is its square, or rounding, if it is no shorter.
        if size < 1e-8 or (size < 1e-4 and size >= previous / 2):
            break
    return u
