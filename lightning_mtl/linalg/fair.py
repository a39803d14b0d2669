"""The equation of α-fair weights, G w = (ω / w)^{1/α}."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mtl.linalg import on_device
from lightning_mtl.linalg.cosines import cosines_and_norms
from lightning_mtl.linalg.host import on_host
from lightning_mtl.linalg.on_device.fair import FURTHEST
from lightning_mtl.linalg.rounding import RIDGE_OF_OPPOSED, resolution

STEPS = 100
"""More than ever needed: about 5, and 20 for large α and unequal norms."""


class FairWeights(NamedTuple):
    """The weights, in the Gramian's dtype, and whether the problem had to be changed for them.

    That is a tensor where the Gramian is on a device.
    """

    weights: Float[Tensor, " K"]
    lifted: bool | Bool[Tensor, ""]


def fair_weights(
    gramian: Float[Tensor, "K K"], alpha: float = 1.0, shares: Float[Tensor, " K"] | None = None
) -> FairWeights:
    """The positive w with G w = (ω / w)^{1/α}, by Newton's method.

    It is the minimiser of the convex 1/2 wᵀ G w - Σ ω^p w^{1-p} / (1-p) with p = 1/α, or of
    Σ ω log w in place of the sum for p = 1. In the coordinates u = n w of unit rows the Hessian is
    a well conditioned matrix between two diagonal ones, which Cholesky's method does not mind, over
    any range of norms n.

    Opposed gradients have no finite solution: where the smallest eigenvalue of the Gramian C of
    unit rows is below `RIDGE_OF_OPPOSED`, it is lifted to it, which bounds u by 1e4 or so. Other
    problems are solved as they are.

    Args:
        gramian: G.
        alpha: α.
        shares: ω, positive and not far from 1; by default 1.

    Returns:
        The weights, and whether an eigenvalue was lifted. A zero row, whose weight would be
        infinite, has 1.
    """
    if not on_host(gramian):
        return FairWeights(*on_device.fair_weights(gramian, alpha, shares))
    kept = gramian.diagonal() > 0
    if not bool(kept.all()):
        every = FairWeights(torch.ones_like(gramian.diagonal()), False)
        if bool(kept.any()):
            given = None if shares is None else shares[kept]
            inside = fair_weights(gramian[kept][:, kept], alpha, given)
            every.weights[kept] = inside.weights
            every = every._replace(lifted=inside.lifted)
        return every
    cosines, norms = cosines_and_norms(gramian)
    power = 1 / alpha
    # The common factor of the norms changes w by a power only; taken out, it cannot overflow.
    common = norms.log().mean().exp()
    relative = norms / common
    # As large as the force itself where p < 1, else its p-th root: no power leaves the range.
    pull = relative.pow(power - 1 if power < 1 else 1 - 1 / power)
    start = relative.pow((power - 1) / (1 + power))
    if shares is not None:
        pull = pull * shares.pow(min(power, 1.0))
        start = start * shares.pow(power / (1 + power))
    floor = max(RIDGE_OF_OPPOSED, resolution(gramian))
    identity = torch.eye(len(norms), dtype=cosines.dtype, device=cosines.device)
    lifted = bool(torch.linalg.cholesky_ex(torch.sub(cosines, identity, alpha=floor)).info)
    if lifted:
        cosines, start = _lifted(cosines, start, floor)
    u = _newton(cosines, pull, power, start)
    return FairWeights((u / relative * common ** (-2 / (1 + power))).to(gramian), lifted)


def _lifted(
    matrix: Float[Tensor, "K K"], start: Float[Tensor, " K"], floor: float
) -> tuple[Float[Tensor, "K K"], Float[Tensor, " K"]]:
    """C with eigenvalues of at least `floor`, and where to start from then.

    Where rows are opposed, u is as large as C^{-1/2} says; where they are merely dependent, it is
    not: the better of the two for α = 1, whatever their common factor, is taken.
    """
    values, vectors = torch.linalg.eigh(matrix)
    lift = (floor - values[0]).clamp(min=0)
    matrix = matrix + torch.diag(lift.expand_as(values))
    root = vectors.square() @ (values + lift).rsqrt()
    starts = torch.stack([start, start * root])
    products = (starts @ matrix * starts).sum(1)
    value = starts.log().mean(1) - products.log() / 2
    return matrix, starts[int(value.argmax())]


def _newton(
    matrix: Float[Tensor, "K K"], pull: Float[Tensor, " K"], power: float, u: Float[Tensor, " K"]
) -> Float[Tensor, " K"]:
    """The root of f(u) = C u - s u^{-p}, s = `pull` where p < 1, else `pull`^p."""
    size = float("inf")
    for _ in range(STEPS):
        pulled, push = matrix @ u, _push(pull, u, power)
        if size > 0.1:
            # Far away, the common factor of u is best found at once.
            factor = ((u @ push) / (u @ pulled)).pow(1 / (1 + power))
            u, pulled = u * factor, pulled * factor
            push = _push(pull, u, power)
        hessian = matrix + torch.diag(power * push / u)
        factor, _ = torch.linalg.cholesky_ex(hessian)
        step = torch.cholesky_solve((pulled - push).unsqueeze(1), factor).squeeze(1) / u
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


def _push(pull: Float[Tensor, " K"], u: Float[Tensor, " K"], power: float) -> Float[Tensor, " K"]:
    """What pulls w away from zero, s u^{-p}; s is 1 where p is."""
    return pull * u.pow(-power) if power < 1 else (pull / u).pow(power)
