"""What is added up over the micro-batches that make one optimizer step."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from lightning_mtl.distributed import sum_gradients_over_ranks, sum_over_ranks
from lightning_mtl.engine.gradients import Gradients

Groups = tuple[list[Parameter], list[list[Parameter]]]
"""The shared parameters, and for each task those that it alone uses."""


class Statistics(NamedTuple):
    """What the Gramian rules see: float64 on the host, of the tasks present in the window."""

    losses: Float[Tensor, " k"]
    gramian: Float[Tensor, "k k"]
    counts: Float[Tensor, " k"]
    scale: Float[Tensor, " k"]


class Window:
    """What the micro-batches and ranks of one optimizer step add up to.

    Attributes:
        length: n, its micro-batches so far.
        factor: f, what Lightning has put in front of the loss.
        rows: for each task the sum of its gradients on the shared parameters, on this rank.
        matrix: what `rows` are views of, where they are collected as one matrix.
        heads: for each task the sum of its own parameters' gradients, on this rank.
        measured: as `rows`, at the place where a rule measures.
        gramian: (K, K), sum over the blocks of a batch at the shared features.
        parts: (2, K, K), the sum of the Gramians of the parts, and how many parts had both tasks.
        applied: the weights that were applied, for the logs.
        batches: in how many micro-batches some rank had each task.
        keeps: whether kept weights are applied to each micro-batch as it comes; `None` until known.
    """

    def __init__(self) -> None:
        self.length = 0
        self.factor: Tensor | None = None
        self.rows: dict[int, Gradients] = {}
        self.matrix: Float[Tensor, "K P"] | None = None
        self.heads: dict[int, Gradients] = {}
        self.measured: dict[int, Gradients] = {}
        self.gramian: Tensor | None = None
        self.parts: Tensor | None = None
        self.applied: dict[int, Tensor] = {}
        self.batches: Counter[int] = Counter()
        self.keeps: bool | None = None
        self._loss_sums: Tensor | None = None
        self._counts: Tensor | None = None

    def count(self, sums: Tensor, counts: Tensor, present: Sequence[int]) -> None:
        """Add the losses of one micro-batch of all ranks."""
        self.length += 1
        self._loss_sums = sums if self._loss_sums is None else self._loss_sums + sums
        self._counts = counts if self._counts is None else self._counts + counts
        self.batches.update(present)

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
        self.matrix = None
        # The last shared layer may be another one now.
        self.measured = {}

    @property
    def tasks(self) -> list[int]:
        """Indices of the tasks that were present anywhere in the window."""
        return sorted(self.batches)

    @property
    def losses(self) -> Float[Tensor, " k"]:
        """The losses of `tasks`: means over micro-batches and ranks, detached."""
        assert self._loss_sums is not None and self._counts is not None
        return pick(self._loss_sums / self._counts.clamp(min=1), self.tasks)

    @property
    def counts(self) -> Float[Tensor, " k"]:
        """In how many micro-batches of how many ranks each of `tasks` was present."""
        assert self._counts is not None
        return pick(self._counts, self.tasks)

    def host_statistics(self, gramian: Float[Tensor, "k k"]) -> Statistics:
        """Bring (k, k) numbers to the host in float64: the one host sync of a gradient-level step.

        Args:
            gramian: of the rows that `reduce` and its like return, on the device.
        """
        k = len(gramian)
        parts = [gramian.flatten(), self.normalisers(), self.losses, self.counts]
        host = torch.cat([part.to(gramian.dtype) for part in parts]).cpu().double()
        matrix, scale, losses, counts = host.split([k * k, k, k, k])
        return Statistics(losses, matrix.view(k, k) / torch.outer(scale, scale), counts, scale)

    def across_parts(self, measured: Float[Tensor, "k k"]) -> Float[Tensor, "k k"]:
        """The mean of J_r J_sᵀ over different parts r ≠ s, in the units of `measured`.

        With Σ_r J_r and each part's own Gramian, no further passes are needed. What only one part
        has stays as it is.

        Args:
            measured: the Gramian of the reduced rows.
        """
        assert self.parts is not None
        own, same = (
            pick(pick(matrix, self.tasks).T, self.tasks) for matrix in sum_over_ranks(self.parts)
        )
        pairs = torch.outer(self.counts, self.counts).to(measured)
        others = pairs - same
        crossed = (measured - own) * pairs / others.clamp(min=1)
        return torch.where(others > 0, crossed, measured)

    def reduce(self) -> list[Gradients]:
        """The trunk's rows of `tasks`, summed over ranks, still times f N_k."""
        return self._summed(self.rows)

    def reduce_measured(self) -> list[Gradients]:
        """As `reduce`, of what `measure` or `measure_feature_sums` added up."""
        return self._summed(self.measured)

    def reduce_features(self) -> Float[Tensor, "k k"]:
        """As `reduce`, of what `measure_features` added up, as a Gramian."""
        assert self.gramian is not None
        total = sum_over_ranks(self.gramian)
        return pick(pick(total, self.tasks).T, self.tasks)

    def normalisers(self) -> Float[Tensor, " k"]:
        """What divides a reduced row of `tasks` to give the task's gradient: f N_k."""
        assert self.factor is not None
        return self.factor * self.counts

    def scale(self) -> Float[Tensor, ""]:
        """What turns a gradient of the window into the one that Lightning expects: f n."""
        assert self.factor is not None
        return self.factor * self.length

    def _summed(self, rows: dict[int, Gradients]) -> list[Gradients]:
        # Every rank has some task, whose shapes stand in for those of the tasks it lacks.
        likes = next(iter(rows.values()))
        return [
            sum_gradients_over_ranks(rows.get(task) or [torch.zeros_like(like) for like in likes])
            for task in self.tasks
        ]


def pick(values: Tensor, index: Sequence[int]) -> Tensor:
    """`values[index]`, without the copy of an index to the device."""
    if list(index) == list(range(len(values))):
        return values
    return torch.stack([values[i] for i in index]) if index else values[:0]
