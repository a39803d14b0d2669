"""Measuring at all shared parameters."""

from typing import ClassVar

from lightning_mtl.engine.gradients import Gradients
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.places.place import RowPlace
from lightning_mtl.engine.task_backward import TaskBackward
from lightning_mtl.engine.window import Window


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
        self.parameters = micro_batch.partition.shared
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
