"""The best common improvement within a ball around a direction."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg.on_device.cosines import cosines_and_norms
from lightning_mtl.linalg.on_device.supports import PROXIMAL_STEPS, Supports


def max_min_in_ball(
    gramian: Float[Tensor, "K K"], center: Float[Tensor, " K"], radius: Float[Tensor, ""]
) -> Float[Tensor, " K"]:
    """The v >= 0 whose d = Jᵀ(center + v) maximises min_i g_i·d over |d - Jᵀ center| <= radius.

    Any t >= 0 of unit rows bounds the minimum from above by (t·reached + radius |e|) / t·need, e =
    Σ t_i u_i: the answer has the least bound among what each support has where |e| is the radius.
    """
    cosines, norms = cosines_and_norms(gramian)
    inverse = torch.where(cosines.diagonal() > 0, 1 / norms, 0.0)
    need = inverse / inverse.max()
    sides = torch.stack([need, cosines @ (center.double() * norms)])
    supports = Supports(cosines, gramian)
    t = _meeting(supports, sides, radius)
    # Where the hull of the rows holds zero, no level above 0 is in reach.
    nearest, reaching = supports.minimise(torch.stack([need, -sides[1]]))
    holds_zero = supports.ridge * (nearest @ nearest) >= (nearest @ need) / 2
    inside = (reaching @ -sides[1]).clamp(min=0) <= radius.double().square()
    t = torch.where(holds_zero & inside, reaching, t)
    return torch.where(radius > 0, t / norms, 0.0)


def _meeting(
    supports: Supports, sides: Float[Tensor, "2 K"], radius: Float[Tensor, ""]
) -> Float[Tensor, " K"]:
    """The t of the support that is best where |e| meets the radius."""
    solutions = supports.solve(sides)
    halves = solutions.sides.transpose(0, 1)
    lines = solutions.t.transpose(0, 1)
    t, bound = _at_radius(lines, halves @ halves.mT, radius)
    index = supports.best(t[None], -bound[None])
    chosen, line, root = (
        values.gather(0, index.expand(1, *values.shape[1:]))[0]
        for values in (t.unsqueeze(1), lines, supports.roots)
    )
    added = line
    for _ in range(PROXIMAL_STEPS):
        added = supports.ridge * added @ root.T @ root
        line = line + added
    refined, _ = _at_radius(line[None], (line @ sides.T)[None], radius)
    # Of rows next to dependent, signs may turn without the ridge.
    holds = refined.min() >= refined.max() * -supports.ridge
    return torch.where(holds, refined, chosen)[0].clamp(min=0)


def _at_radius(
    lines: Float[Tensor, "S 2 K"],
    products: Float[Tensor, "S 2 2"],
    radius: Float[Tensor, ""],
) -> tuple[Float[Tensor, "S K"], Float[Tensor, " S"]]:
    """The t = μ x - y of each support where |e| is the radius, or nearest to it; and its bound.

    Args:
        lines: x and y.
        products: theirs with the need and with what the centre has reached.
        radius: of the ball.
    """
    square, middle, length = products[:, 0, 0], products[:, 0, 1], products[:, 1, 1]
    apart = torch.addcmul(middle * middle, square, radius.double().square() - length)
    level = (middle + apart.clamp_(min=0).sqrt_()) / square
    t = torch.addcmul(-lines[:, 1], level.unsqueeze(1), lines[:, 0])
    # t·need, t·reached, and |e|² = t·(μ need - reached).
    along = torch.addcmul(-middle, level, square)
    reached = torch.addcmul(-length, level, middle)
    size = torch.addcmul(-reached, level, along).clamp_(min=0).sqrt_()
    bound = (reached + radius * size) / along
    return t, torch.where(square > 0, bound, torch.inf)
