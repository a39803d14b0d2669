"""The equation of α-fair weights, G w = (ω / w)^{1/α}, by a fixed number of steps."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mtl.linalg.on_device.cosines import cosines_and_norms
from lightning_mtl.linalg.rounding import RIDGE_OF_OPPOSED, resolution

FURTHEST = 8.0
"""How many powers of e a weight may fall in one step."""

SQUARINGS = 8
"""Of an inverse, for its largest eigenvalue: 2^8 times what sets it apart from the next ones."""


MORE_STEPS = 8
"""Of Newton's method where tasks have shares, from a start that is farther from the solution."""


class Problem(NamedTuple):
    """C u = s u^{-p} in the coordinates of unit rows.

    Attributes:
        matrix: C, lifted if need be; zero rows where gradients are.
        pull: s where p < 1, else its p-th root; 0 for a zero row.
        zero: 1 for a zero row, else 0.
        kept: how many rows are not zero.
        power: p.
    """

    matrix: Float[Tensor, "K K"]
    pull: Float[Tensor, " K"]
    zero: Float[Tensor, " K"]
    kept: Float[Tensor, ""]
    power: float


def fair_weights(
    gramian: Float[Tensor, "K K"], alpha: float = 1.0, shares: Float[Tensor, " K"] | None = None
) -> tuple[Float[Tensor, " K"], Bool[Tensor, ""]]:
    """The positive w with G w = (ω / w)^{1/α}, in the Gramian's dtype; and whether C was lifted."""
    cosines, norms = cosines_and_norms(gramian)
    power = 1 / alpha
    kept = cosines.diagonal() > 0
    zero, count = (~kept).to(norms), kept.sum().clamp(min=1).to(norms)
    common = (norms.log().sum() / count).exp()
    relative = torch.where(kept, norms / common, 1.0)
    pull = relative.pow(power - 1 if power < 1 else 1 - 1 / power) * kept
    floor = max(RIDGE_OF_OPPOSED, resolution(gramian))
    identity = torch.eye(len(norms), dtype=cosines.dtype, device=cosines.device)
    inverse, smallest = _smallest_eigenvalue(cosines, identity, zero, floor)
    lift = (floor - smallest).clamp(min=0)
    matrix = torch.addcmul(cosines, identity, lift * kept)
    start = relative.pow((power - 1) / (1 + power))
    if shares is not None:
        pull = pull * shares.pow(min(power, 1.0))
        start = start * shares.pow(power / (1 + power))
    problem = Problem(matrix, pull, zero, count, power)
    u = _better(problem, start, start * inverse.diagonal().sqrt())
    u = _newton(problem, u, identity, steps(alpha) + (0 if shares is None else MORE_STEPS))
    weights = u / relative * common ** (-2 / (1 + power))
    return torch.where(kept, weights, 1.0).to(gramian), lift > 0


def steps(alpha: float) -> int:
    """How many of Newton's steps there are for α; two more than any awkward Gramian has needed.

    8 for α = 1, 14 for 0.7 to 4, 24 for 0.2 to 8; the host's most for powers far from that.
    """
    if alpha == 1:
        return 10
    if 0.7 <= alpha <= 4:
        return 16
    return 26 if 0.2 <= alpha <= 8 else 100


def _smallest_eigenvalue(
    cosines: Float[Tensor, "K K"],
    identity: Float[Tensor, "K K"],
    zero: Float[Tensor, " K"],
    floor: float,
) -> tuple[Float[Tensor, "K K"], Float[Tensor, ""]]:
    """(C + floor I)⁻¹ with 1 for a zero row; and the smallest eigenvalue of C, if it is small.

    By squaring the inverse: within a percent of the floor, and to rounding where it stands alone.
    """
    inverse = torch.linalg.inv_ex(torch.addcmul(cosines, identity, floor + zero)).inverse
    square = inverse / inverse.trace()
    for _ in range(SQUARINGS):
        square = square @ square
    return inverse, square.trace() / (inverse * square).sum() - floor


def _better(
    problem: Problem, one: Float[Tensor, " K"], other: Float[Tensor, " K"]
) -> Float[Tensor, " K"]:
    """The one that is better for α = 1, whatever their common factor."""
    starts = torch.stack([one, other])
    products = (starts @ problem.matrix * starts).sum(1)
    value = starts.log().sum(1) / problem.kept - products.log() / 2
    return torch.where(value[0] >= value[1], one, other)


def _newton(
    problem: Problem, u: Float[Tensor, " K"], identity: Float[Tensor, "K K"], count: int
) -> Float[Tensor, " K"]:
    """The root of C u - s u^{-p}, by steps relative to u."""
    matrix, power = problem.matrix, problem.power
    for _ in range(count):
        # The common factor of u is best found at once.
        pulled = u * torch.mv(matrix, u)
        push = _push(problem, u)
        u = u * (push.sum() / pulled.sum()).pow(1 / (1 + power))
        scaled = matrix * u * u.unsqueeze(1)
        push = _push(problem, u)
        hessian = torch.addcmul(scaled, identity, torch.add(problem.zero, push, alpha=power))
        missing = (push - scaled.sum(1)).unsqueeze(1)
        step = torch.cholesky_solve(missing, torch.linalg.cholesky_ex(hessian).L).squeeze(1)
        # Upwards as it is; downwards by a factor, as 1 + step might be negative.
        u = torch.addcmul(u, u, torch.nn.functional.elu(step.clamp_(min=-FURTHEST)))
    return u


def _push(problem: Problem, u: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
    """What pulls u away from zero, times u: s u^{1-p}."""
    if problem.power == 1:
        return problem.pull
    if problem.power < 1:
        return problem.pull * u.pow(1 - problem.power)
    return u * (problem.pull / u).pow(problem.power)
