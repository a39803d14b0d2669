"""What is added up over the micro-batches that make one optimizer step."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from lightning_mtl.distributed import sum_gradients_over_ranks
from lightning_mtl.engine.gradients import Gradients, as_gradient_of
from lightning_mtl.engine.shared_parameters import Partition
from lightning_mtl.engine.task_totals import TaskTotals, or_one
from lightning_mtl.engine.transfers import to_host

Groups = tuple[list[Parameter], list[list[Parameter]]]
"""The shared parameters, and for each task those that only this task uses."""


class Statistics(NamedTuple):
    """What is known of the tasks present in a window: float64 on the host, or on the device.

    Attributes:
        gramian: the inner products of their gradients.
        losses: means over micro-batches and ranks.
        presence: how often each task was there, over micro-batches and ranks.
        others: other numbers that were asked for.
    """

    gramian: Float[Tensor, "k k"]
    losses: Float[Tensor, " k"]
    presence: Float[Tensor, " k"]
    others: Float[Tensor, " n"]


class Window:
    """Sums over the micro-batches and ranks of one optimizer step.

    Attributes:
        length: n, its micro-batches so far.
        factor: f, what Lightning has put in front of the loss.
        rows: for each task the sum of its gradients on the shared parameters, on this rank; filled
            by the weightings that combine these.
        heads: for each task the sum of its task-specific parameters' gradients, on this rank.
        applied: the weights of the given losses that were applied, for the logs.
        batches: in how many micro-batches some rank had each task.
        used_here: the parameters that the losses of this rank have reached.
        reference: what counts of labels are relative to, see `TaskTotals`.
        prior: what multiplies the losses of the tasks before they are balanced; `None` for 1.
    """

    def __init__(self) -> None:
        self.length = 0
        self.factor: Tensor | None = None
        self.rows: dict[int, Gradients] = {}
        self.heads: dict[int, Gradients] = {}
        self.applied: dict[int, Tensor] = {}
        self.batches: Counter[int] = Counter()
        self._loss_sums: Tensor | None = None
        self._counts: Tensor | None = None
        self._ranks: Tensor | None = None
        self.reference: Float[Tensor, " K"] | None = None
        self.prior: Float[Tensor, " K"] | None = None
        self._alone = True
        self.used_here: set[Tensor] = set()
        self._usage: Tensor | None = None
        self._reduced: list[Gradients] | None = None

    def count(
        self,
        totals: TaskTotals,
        present: Sequence[int],
        prior: Float[Tensor, " K"] | None = None,
    ) -> None:
        """Add the losses of one micro-batch.

        Args:
            totals: their sums over the ranks.
            present: indices of the tasks that some rank has.
            prior: what multiplies the losses of all tasks.
        """
        self.length += 1
        self.prior = prior
        self.reference = totals.reference
        self._alone = self._alone and totals.alone
        self._loss_sums = _plus(self._loss_sums, totals.losses)
        self._counts = _plus(self._counts, totals.counts)
        self._ranks = _plus(self._ranks, totals.ranks)
        self.batches.update(present)

    def repartition(self, before: Groups, after: Groups) -> None:
        """Sort the collected gradients anew, if a graph has shown more parameters to be shared.

        Args:
            before: the shared and the task-specific parameters as they were.
            after: the same as they are now.
        """
        if _identities(before) == _identities(after):
            return
        for task, row in self.rows.items():
            parameters = [*before[0], *before[1][task]]
            collected = zip(parameters, [*row, *self.heads[task]], strict=True)
            gradients = {p: as_gradient_of(p, gradient) for p, gradient in collected}
            self.rows[task] = [gradients.get(p, torch.zeros_like(p)) for p in after[0]]
            self.heads[task] = [gradients.get(p, torch.zeros_like(p)) for p in after[1][task]]

    def count_usage(self, usage: Float[Tensor, " P"]) -> None:
        """Add which parameters one micro-batch uses, with several ranks.

        Args:
            usage: how many ranks use each parameter of the partition.
        """
        self._usage = _plus(self._usage, usage)

    def unused_parameters(self, partition: Partition) -> list[Parameter]:
        """The trainable parameters that no rank has used in this window.

        Waits for the device, but only on a rank that has not used all of them itself.
        """
        candidates = [p for p in partition.parameters if p not in self.used_here]
        if not candidates:
            return []
        assert self._usage is not None
        used = dict(zip(partition.names, self._usage.tolist(), strict=True))
        return [parameter for parameter in candidates if not used[parameter]]

    @property
    def present(self) -> list[int]:
        """Indices of the tasks that were present anywhere in the window."""
        return sorted(self.batches)

    @property
    def losses(self) -> Float[Tensor, " k"]:
        """The losses of the tasks in `present`, times their prior weights; see `given_losses`."""
        losses = self.given_losses
        return losses if self.prior is None else losses * select(self.prior, self.present)

    @property
    def given_losses(self) -> Float[Tensor, " k"]:
        """The losses of the tasks in `present`: means over micro-batches and ranks, detached."""
        assert self._loss_sums is not None and self._counts is not None
        if self._alone:
            return self._loss_sums if self.length == 1 else self._loss_sums / self.length
        return select(self._loss_sums / or_one(self._counts), self.present)

    @property
    def counts(self) -> Float[Tensor, " k"]:
        """N_k: how many losses of each of the tasks in `present` have been added up.

        Over micro-batches and ranks; by their numbers of labels, where the module gives these. A
        task whose losses have no label at all counts as 1, to be divided by.
        """
        assert self._counts is not None
        return self._counts if self._alone else or_one(select(self._counts, self.present))

    @property
    def is_whole(self) -> bool:
        """Whether every task of `present` is in all micro-batches of this rank."""
        return all(count == self.length for count in self.batches.values())

    @property
    def presence(self) -> Float[Tensor, " k"]:
        """How often each of the tasks in `present` was there, over micro-batches and ranks."""
        assert self._ranks is not None
        return select(self._ranks, self.present)

    def statistics(
        self, gramian: Float[Tensor, "k k"], others: Float[Tensor, " n"], stay: bool
    ) -> Statistics:
        """The numbers that a rule turns into weights.

        Args:
            gramian: of the rows that `reduced_rows` and its like return.
            others: numbers to be brought along.
            stay: whether they stay on the device. Otherwise they come to the host in one copy: the
                one host sync of a step that solves there.
        """
        scale = self.normalisers().to(gramian)
        parts = [gramian / torch.outer(scale, scale), self.losses, self.presence, others]
        return Statistics(*([part.double() for part in parts] if stay else to_host(*parts)))

    def reduced_rows(self) -> list[Gradients]:
        """The trunk's rows of the tasks in `present`, summed over ranks once, still times f N_k."""
        if self._reduced is None:
            self._reduced = self.sum_over_ranks(self.rows)
        return self._reduced

    def sum_over_ranks(self, rows: Mapping[int, Gradients]) -> list[Gradients]:
        """The rows of the tasks in `present`, summed over ranks.

        Rows of tasks that this rank lacks count as zero.

        Args:
            rows: sums over this rank's micro-batches, by the index of the task.
        """
        # Every rank has some task, whose shapes stand in for those of the tasks it lacks.
        likes = next(iter(rows.values()))
        return [
            sum_gradients_over_ranks(rows.get(task) or [torch.zeros_like(like) for like in likes])
            for task in self.present
        ]

    def normalisers(self) -> Float[Tensor, " k"]:
        """What divides a reduced row to give the gradient of a task in `present`: f N_k."""
        assert self.factor is not None
        return self.factor * self.counts

    def scale(self) -> Float[Tensor, ""]:
        """What turns a gradient of the window into the one that Lightning expects: f n."""
        assert self.factor is not None
        return self.factor * self.length


def _plus(total: Tensor | None, new: Tensor) -> Tensor:
    return new if total is None else total + new


def _identities(groups: Groups) -> list[list[int]]:
    return [[id(parameter) for parameter in group] for group in (groups[0], *groups[1])]


def select(values: Tensor, index: Sequence[int]) -> Tensor:
    """`values[index]`, without the copy of an index to the device."""
    if list(index) == list(range(len(values))):
        return values
    return torch.stack([values[i] for i in index]) if index else values[:0]


def select_block(matrix: Float[Tensor, "K K"], index: Sequence[int]) -> Float[Tensor, "k k"]:
    """The rows and columns `index` of a matrix, without the copy of an index to the device."""
    return select(select(matrix, index).T, index).T
