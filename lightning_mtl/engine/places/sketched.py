"""Measuring sketches of the gradients of all shared parameters."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from torch import Tensor

from lightning_mtl.engine.coming import Coming
from lightning_mtl.engine.gradients import Gradients, add
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.places.place import RowPlace
from lightning_mtl.engine.sketching.watched_pass import WatchedPass
from lightning_mtl.engine.task_backward import TaskBackward
from lightning_mtl.engine.window import Window


class Sketched(RowPlace):
    """All shared parameters, those of linear layers and convolutions by random projections.

    K backward passes of the trunk without its weight gradients, which are a third of the work of a
    pass and nearly all of its memory, and one ordinary pass. The Gramian is right in expectation.
    Where the rows of the whole trunk are collected in any case, it is exact.

    Args:
        rows: s, how many rows a sketch has.
    """

    price: ClassVar[str] = "F + H + K B_x + B"
    extra: ClassVar[str] = "K B_x"
    size: ClassVar[str] = "P_s"

    def __init__(self, rows: int) -> None:
        self._pass = WatchedPass(rows)
        self.begin()

    def begin(self) -> None:
        """Forget what was measured before. Called at the start of each window."""
        self._pass.release()
        self._sums: dict[int, Gradients] = {}
        self._latest: list[Gradients] | None = None
        self._identity: list[str] = []

    def prepare(self, coming: Coming, draw_seed: Callable[[], int]) -> Sequence[Tensor]:
        """Watch the layers of the trunk in the coming forward pass."""
        return self._pass.begin(coming, draw_seed())

    def release(self) -> None:
        """Leave the layers as they were. Called after the last backward pass."""
        self._pass.release()

    def accumulate(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """Differentiate every task with respect to the sketches, or exactly where there is none."""
        inputs, self._identity = self._pass.inputs(micro_batch)
        self._latest = backward.rows(inputs, keep_graph=True)
        self._pass.pause()
        for task, row in zip(micro_batch.local, self._latest, strict=True):
            self._sums[task] = add(self._sums.get(task), row)

    def accumulate_collected(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """Note which parameters are shared; the window collects their rows."""
        self._latest = None
        self._identity = micro_batch.partition.identity(micro_batch.partition.shared)

    def rows(self, window: Window) -> list[Gradients]:
        """The sketched gradients, or those that the window has collected."""
        if self._sums:
            return window.sum_over_ranks(self._sums)
        return window.reduced_rows()

    def micro_batch_rows(self, micro_batch: MicroBatch, backward: TaskBackward) -> list[Gradients]:
        """The rows of this micro-batch alone."""
        return micro_batch.trunk_rows(backward) if self._latest is None else self._latest

    def identity(self) -> list[str]:
        """Names of the shared parameters, and the shapes of their gradients or sketches."""
        return self._identity
