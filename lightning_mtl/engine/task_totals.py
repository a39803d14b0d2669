"""What the ranks tell each other about the losses of one micro-batch."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.distributed import sum_over_ranks


@dataclass(frozen=True)
class TaskTotals:
    """Sums over the ranks, one number for each task of the module.

    A loss is a mean over some labels, and counts as much as it has labels: c of them, or 1 where
    the module does not say. Counts are relative to a reference, their mean over the ranks in the
    first micro-batch of the window that has the task, so that they are numbers near 1.

    Attributes:
        losses: Σ_r c_r L_r / reference.
        counts: Σ_r c_r / reference; without counts, how many ranks have the task.
        ranks: how many ranks have the task.
        reference: what counts are divided by.
        alone: whether one rank has all tasks, and counts each of them as 1.
    """

    losses: Float[Tensor, " K"]
    counts: Float[Tensor, " K"]
    ranks: Float[Tensor, " K"]
    reference: Float[Tensor, " K"]
    alone: bool = False

    @property
    def means(self) -> Float[Tensor, " K"]:
        """The mean loss of each task over the ranks that have it; 0 for an absent one."""
        return self.losses if self.alone else self.losses / or_one(self.counts)


def of_one_rank(losses: Float[Tensor, " K"], like: Tensor) -> TaskTotals:
    """The sums of one rank that has all tasks, where nobody counts labels.

    Args:
        losses: of all tasks.
        like: as for `exchange`.
    """
    ones = like.new_ones(len(losses))
    return TaskTotals(losses.detach().to(like), ones, ones, ones, alone=True)


def exchange(
    losses: Mapping[int, Tensor],
    counts: Mapping[int, Tensor],
    tasks: int,
    like: Tensor,
    reference: Float[Tensor, " K"] | None,
    message: Float[Tensor, " n"] | None = None,
) -> tuple[TaskTotals, Float[Tensor, " n"] | None]:
    """Sum the losses of one micro-batch over the ranks, in one message.

    Args:
        losses: of this rank's tasks, by their index.
        counts: how many labels they are means over; 1 for a task without an entry.
        tasks: K.
        like: a tensor of the device and dtype of the sums, which are the same on every rank,
            whatever the dtype of a loss.
        reference: of the micro-batches before in this window, 0 for a task that none of them had.
        message: other numbers to sum over the ranks on this occasion; `None` on one rank.

    Returns:
        The sums, and those of `message`.
    """
    zero, one = like.new_zeros(()), like.new_ones(())
    every = range(tasks)
    means = torch.stack([losses[k].detach().to(like) if k in losses else zero for k in every])
    here = torch.stack([one if k in losses else zero for k in every])
    if message is None and not counts:
        return TaskTotals(means, here, here, here), None
    amounts = [counts.get(k, one).to(like) if k in losses else zero for k in every]
    weights = torch.stack(amounts)
    parts = [weights * means, weights, here]
    if message is not None:
        parts.append(message)
    total = sum_over_ranks(torch.cat(parts))
    sums, labels, ranks, *others = total.split([len(part) for part in parts])
    mean = or_one(labels / or_one(ranks)) * (ranks > 0)
    reference = mean if reference is None else torch.where(reference > 0, reference, mean)
    divisor = or_one(reference)
    totals = TaskTotals(sums / divisor, labels / divisor, ranks, reference)
    return totals, others[0] if others else None


def or_one(values: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
    """The values, with 1 in place of 0: a divisor for sums over nothing."""
    return torch.where(values > 0, values, 1.0)
