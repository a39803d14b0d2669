"""Measuring at one shared layer."""

from collections.abc import Sequence
from typing import ClassVar

from torch.nn import Parameter

from lightning_mtl.engine.gradients import Gradients, add
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.places.place import RowPlace
from lightning_mtl.engine.task_backward import TaskBackward
from lightning_mtl.engine.window import Window


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
        self.parameters = layer
        return layer

    def _of_trunk(self, rows: Sequence[Gradients]) -> list[Gradients]:
        return [[row[column] for column in self._columns] for row in rows]
