"""Places: where the task gradients of a window are measured, and what that costs.

A price counts F, a forward pass; H, the backward passes of all heads; B, one backward pass of the
trunk, and B_last of its last layer; K tasks.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from lightning_mtl.distributed import sum_over_ranks
from lightning_mtl.engine.gradients import Gradients, add, gramian
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.task_backward import TaskBackward
from lightning_mtl.engine.window import Window, select_block


class Place(ABC):
    """Where task gradients are measured; it adds up what it finds over one window.

    Attributes:
        price: of an optimizer step that measures here, with one micro-batch.
        extra: what that is more than F + H + B, the price of a step that does not measure.
        takes_whole_trunk: whether the rows of the whole trunk are measured, which are then combined
            as well.
    """

    price: ClassVar[str]
    extra: ClassVar[str]
    takes_whole_trunk: ClassVar[bool] = False

    @abstractmethod
    def begin(self) -> None:
        """Forget what was measured before. Called at the start of each window."""

    @abstractmethod
    def accumulate(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """Measure one micro-batch by passes made for it. Called before the trunk is differentiated.

        Args:
            micro_batch: whose gradients are added to what was measured in this window.
            backward: of this micro-batch; its graph is kept.
        """

    @abstractmethod
    def accumulate_collected(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """Measure one micro-batch whose rows of the whole trunk are collected by the window.

        Called in place of `accumulate`, before `MicroBatch.collect`, where weights are known only
        at the end of the window.
        """

    @abstractmethod
    def gramian(self, window: Window) -> Float[Tensor, "k k"]:
        """The inner products of the window's task gradients, times the products of `scale`.

        Called once, at the end of the window; a collective call.
        """


class RowPlace(Place):
    """A place at which the task gradients themselves are known, and not only their products.

    Attributes:
        size: how many numbers a gradient has here, as printed in prices.
    """

    size: ClassVar[str]

    @abstractmethod
    def rows(self, window: Window) -> list[Gradients]:
        """The gradients of the window's tasks here, summed over ranks, still times f N_k."""

    @abstractmethod
    def micro_batch_rows(self, micro_batch: MicroBatch, backward: TaskBackward) -> list[Gradients]:
        """The gradients of this rank's tasks in the micro-batch that was just accumulated."""

    @abstractmethod
    def identity(self) -> list[str]:
        """What averages of gradients measured here belong to: names and shapes of parameters."""

    def gramian(self, window: Window) -> Float[Tensor, "k k"]:
        """The inner products of `rows`."""
        return gramian(self.rows(window))


class AllShared(RowPlace):
    """All shared parameters: exact, by K backward passes of the trunk."""

    price: ClassVar[str] = "F + H + K B"
    extra: ClassVar[str] = "(K - 1) B"
    size: ClassVar[str] = "P"
    takes_whole_trunk: ClassVar[bool] = True

    def begin(self) -> None:
        """Forget which parameters these were. Called at the start of each window."""
        self._identity: list[str] = []

    def accumulate(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """As `accumulate_collected`: the window collects the rows of the trunk in any case."""
        self.accumulate_collected(micro_batch, backward)

    def accumulate_collected(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """Note which parameters these are; the window collects their rows."""
        self._identity = micro_batch.partition.identity(micro_batch.partition.shared)

    def rows(self, window: Window) -> list[Gradients]:
        """The rows that the window has collected."""
        return window.reduced_rows()

    def micro_batch_rows(self, micro_batch: MicroBatch, backward: TaskBackward) -> list[Gradients]:
        """The rows of this micro-batch alone."""
        return micro_batch.trunk_rows(backward)

    def identity(self) -> list[str]:
        """Names and shapes of the shared parameters."""
        return self._identity


class SharedLayer(RowPlace):
    """One shared layer: K backward passes of that layer, and one of the trunk.

    Args:
        name: of a submodule or parameter; `None` for the last shared layer.
    """

    price: ClassVar[str] = "F + H + B + K B_last"
    extra: ClassVar[str] = "K B_last"
    size: ClassVar[str] = "P_last"

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        self.begin()

    def begin(self) -> None:
        """Forget what was measured before. Called at the start of each window."""
        self._sums: dict[int, Gradients] = {}
        self._latest: list[Gradients] | None = None
        self._columns: list[int] = []
        self._identity: list[str] = []

    def accumulate(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """Differentiate every task from the cut down to this layer."""
        layer = self._find(micro_batch)
        self._latest = backward.rows(layer, keep_graph=True)
        for task, row in zip(micro_batch.local, self._latest, strict=True):
            self._sums[task] = add(self._sums.get(task), row)

    def accumulate_collected(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """Note which columns of the trunk's rows are those of the layer."""
        self._find(micro_batch)

    def rows(self, window: Window) -> list[Gradients]:
        """The layer's own sums, or its columns of the rows that the window has collected."""
        if self._sums:
            return window.sum_over_ranks(self._sums)
        return self._of_trunk(window.reduced_rows())

    def micro_batch_rows(self, micro_batch: MicroBatch, backward: TaskBackward) -> list[Gradients]:
        """The latest rows of the layer, or its columns of the trunk's rows."""
        if self._latest is not None:
            return self._latest
        return self._of_trunk(micro_batch.trunk_rows(backward))

    def identity(self) -> list[str]:
        """Names and shapes of the layer's parameters."""
        return self._identity

    def _find(self, micro_batch: MicroBatch) -> list[Parameter]:
        partition = micro_batch.partition
        layer = partition.layer(self.name)
        identity = partition.identity(layer)
        if self._sums and identity != self._identity:
            # More turned out to be shared, and the last shared layer is another one now.
            self.begin()
        columns = {parameter: column for column, parameter in enumerate(partition.shared)}
        self._columns = [columns[parameter] for parameter in layer]
        self._identity = identity
        return layer

    def _of_trunk(self, rows: Sequence[Gradients]) -> list[Gradients]:
        return [[row[column] for column in self._columns] for row in rows]


class Features(Place):
    """The shared features, where the heads leave the trunk: K passes of the heads, paid anyway.

    MGDA-UB of Sener & Koltun, NeurIPS 2018. Samples have features of their own, so Gramians of
    parts of a batch add up.
    """

    price: ClassVar[str] = "F + H + B"
    extra: ClassVar[str] = ""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget what was measured before. Called at the start of each window."""
        self._sum: Float[Tensor, "K K"] | None = None

    def accumulate(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """Add the Gramian of this micro-batch's gradients at the features."""
        block = gramian(feature_rows(micro_batch, backward))
        products = micro_batch.scatter_to_all_tasks(block)
        self._sum = products if self._sum is None else self._sum + products

    def accumulate_collected(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """As `accumulate`: the rows of the trunk do not hold the gradients at the features."""
        self.accumulate(micro_batch, backward)

    def gramian(self, window: Window) -> Float[Tensor, "k k"]:
        """The sum over micro-batches and ranks, of the window's tasks."""
        assert self._sum is not None
        return select_block(sum_over_ranks(self._sum), window.tasks)


class ChannelSums(RowPlace):
    """A bias added to every channel of the shared features.

    Its gradient is that of the features summed over samples and positions. Unlike the features
    themselves, channels mean the same in every batch, so that their gradients can be averaged over
    steps and ranks.
    """

    price: ClassVar[str] = "F + H + B"
    extra: ClassVar[str] = ""
    size: ClassVar[str] = "C"

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget what was measured before. Called at the start of each window."""
        self._sums: dict[int, Gradients] = {}

    def accumulate(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """Add each task's gradient, summed over all axes but the channels."""
        self._latest = [
            [_channel_sums(gradient) for gradient in row]
            for row in feature_rows(micro_batch, backward)
        ]
        self._identity = [f"features {tuple(part.shape)}" for part in self._latest[0]]
        for task, row in zip(micro_batch.local, self._latest, strict=True):
            self._sums[task] = add(self._sums.get(task), row)

    def accumulate_collected(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """As `accumulate`: the rows of the trunk do not hold the gradients at the features."""
        self.accumulate(micro_batch, backward)

    def rows(self, window: Window) -> list[Gradients]:
        """The sums over micro-batches and ranks."""
        return window.sum_over_ranks(self._sums)

    def micro_batch_rows(self, micro_batch: MicroBatch, backward: TaskBackward) -> list[Gradients]:
        """The sums of this micro-batch alone."""
        return self._latest

    def identity(self) -> list[str]:
        """The numbers of channels."""
        return self._identity


class CrossGramian(Place):
    """The mean of J_r J_sᵀ over different sub-batches r ≠ s, measured at another place.

    Sub-batches are the micro-batches of all ranks. Their noise is independent, so that the products
    have no bias from it; but the matrix is not positive semi-definite. A product of two tasks that
    only one sub-batch has stays as it is.

    Args:
        place: where the gradients are measured.
    """

    def __init__(self, place: RowPlace) -> None:
        self.place = place
        self.price = place.price  # type: ignore[misc]
        self.extra = place.extra  # type: ignore[misc]
        self.takes_whole_trunk = place.takes_whole_trunk  # type: ignore[misc]
        self.begin()

    def begin(self) -> None:
        """Forget what was measured before. Called at the start of each window."""
        self.place.begin()
        self._own: Float[Tensor, "2 K K"] | None = None

    def accumulate(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """Measure this micro-batch, and add the Gramian that it has with itself."""
        self.place.accumulate(micro_batch, backward)
        self._add_sub_batch(micro_batch, self.place.micro_batch_rows(micro_batch, backward))

    def accumulate_collected(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """Add the Gramian that this micro-batch has with itself."""
        self.place.accumulate_collected(micro_batch, backward)
        self._add_sub_batch(micro_batch, self.place.micro_batch_rows(micro_batch, backward))

    def gramian(self, window: Window) -> Float[Tensor, "k k"]:
        """Σ_r J_r times itself, less the products of each sub-batch with itself.

        With the sums and each sub-batch's own Gramian, no further passes are needed.
        """
        assert self._own is not None
        measured = self.place.gramian(window)
        own, same = (select_block(matrix, window.tasks) for matrix in sum_over_ranks(self._own))
        pairs = torch.outer(window.counts, window.counts).to(measured)
        others = pairs - same
        crossed = (measured - own) * pairs / others.clamp(min=1)
        return torch.where(others > 0, crossed, measured)

    def _add_sub_batch(self, micro_batch: MicroBatch, rows: Sequence[Gradients]) -> None:
        """Add one sub-batch's Gramian, and how many sub-batches had both tasks of a pair."""
        block = gramian(rows)
        both = torch.stack(
            [
                micro_batch.scatter_to_all_tasks(block),
                micro_batch.scatter_to_all_tasks(torch.ones_like(block)),
            ]
        )
        self._own = both if self._own is None else self._own + both


def feature_rows(micro_batch: MicroBatch, backward: TaskBackward) -> list[Gradients]:
    """For each of this rank's tasks its gradients at the shared features.

    These are the tensors that the module names, or else those at which the task graphs part.
    """
    features = micro_batch.features()
    return backward.feature_rows() if features is None else backward.rows_at(features)


def _channel_sums(gradient: Tensor) -> Tensor:
    others = [axis for axis in range(gradient.ndim) if axis != 1]
    return gradient.float().sum(others) if others else gradient.float()
