"""What is added up over the micro-batches that make one optimizer step."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from lightning_mtl.gradients import Gradients

Groups = tuple[list[Parameter], list[list[Parameter]]]
"""The shared parameters, and for each task those that it alone uses."""


class Statistics(NamedTuple):
    """What the Gramian rules see: float64 on the host, of the tasks present in the window."""

    losses: Float[Tensor, " k"]
    gramian: Float[Tensor, "k k"]
    counts: Float[Tensor, " k"]
    scale: Float[Tensor, " k"]


class Window:
    """What is added up over the micro-batches of one optimizer step."""

    def __init__(self) -> None:
        self.length = 0
        self.loss_sums: Tensor | None = None  # (K,) over micro-batches and ranks
        self.counts: Tensor | None = None  # (K,) micro-batches and ranks that had the task
        self.present: set[int] = set()
        self.rows: dict[int, Gradients] = {}
        self.heads: dict[int, Gradients] = {}
        self.measured: dict[int, Gradients] = {}
        self.gramian: Tensor | None = None
        self.parts: Tensor | None = None  # (2, K, K): Gramians of the parts, and how many had both
        self.applied: dict[int, Tensor] = {}  # the weights, for the logs

    def count(self, sums: Tensor, counts: Tensor, present: Sequence[int]) -> None:
        """Add the losses of one micro-batch of all ranks."""
        self.length += 1
        self.loss_sums = sums if self.loss_sums is None else self.loss_sums + sums
        self.counts = counts if self.counts is None else self.counts + counts
        self.present.update(present)

    def regroup(self, before: Groups, after: Groups) -> None:
        """Sort what was collected anew, after a task's first micro-batch showed more to be shared.

        Args:
            before: the shared parameters, and those of each task alone, as they were.
            after: as they are.
        """
        if [*map(len, (before[0], *before[1]))] == [*map(len, (after[0], *after[1]))]:
            return
        for task, row in self.rows.items():
            parameters = [*before[0], *before[1][task]]
            found = dict(zip(parameters, [*row, *self.heads[task]], strict=True))
            self.rows[task] = [found.get(p, torch.zeros_like(p)) for p in after[0]]
            self.heads[task] = [found.get(p, torch.zeros_like(p)) for p in after[1][task]]
        # The last shared layer may be another one now.
        self.measured = {}
