"""Proximal inter-task affinity: how much the step of some tasks lowers the loss of others."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def updated(
    affinity: Float[Tensor, "K K"],
    before: Float[Tensor, " K"],
    after: Float[Tensor, " K"],
    known: Bool[Tensor, " K"],
    stepped: Bool[Tensor, " K"],
    decay: float,
) -> Float[Tensor, "K K"]:
    """The affinities A after one group G of tasks has stepped.

    With a_t = (1 - L_t after / L_t before) / |G|, the row of every task s in G moves towards
    B_st by A_st ← (1 - d) A_st + d B_st, where

        B_st = a_t               for t outside of G, and for t in G if a_s a_t ≥ 0
        B_st = -max(a_s, a_t)    for t in G if a_s a_t < 0
        B_ss = a_s               only if a_s ≥ 0; else A_ss stays.

    Entries stay where a loss is not known or was not positive before. Nothing comes to the host.

    Args:
        affinity: A, of all tasks.
        before: their losses before the step.
        after: their losses for the same batch after the step.
        known: the tasks that have both losses.
        stepped: G, the tasks whose losses the step descended.
        decay: d.
    """
    change = (1 - after / before) / stepped.sum().clamp(min=1)
    valid = known & (before > 0) & change.isfinite()
    change = torch.where(valid, change, 0.0)
    source, target = change.unsqueeze(1), change.unsqueeze(0)
    together = stepped.unsqueeze(1) & stepped.unsqueeze(0)
    opposed = together & (source * target < 0)
    measured = torch.where(opposed, -torch.maximum(source, target), target)
    moves = stepped.unsqueeze(1) & valid.unsqueeze(0)
    # Inside of the group both losses have to be valid.
    moves = moves & (valid.unsqueeze(1) | ~together)
    moves = moves & ~torch.diag(change < 0)
    return torch.where(moves, torch.lerp(affinity, measured.to(affinity), decay), affinity)


def similarities(affinity: Float[Tensor, "K K"]) -> Float[Tensor, "K K"]:
    """(X + Xᵀ) / 2 with X_st = A_st / A_tt: each target's column in units of its own step.

    Args:
        affinity: A, with a positive diagonal.
    """
    columns = affinity / affinity.diagonal()
    return (columns + columns.T) / 2
