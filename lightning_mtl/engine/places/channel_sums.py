"""Measuring at the channels of the shared features."""

from typing import ClassVar

from torch import Tensor

from lightning_mtl.engine.gradients import Gradients, add
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.places.features import feature_rows
from lightning_mtl.engine.places.place import RowPlace
from lightning_mtl.engine.task_backward import TaskBackward
from lightning_mtl.engine.window import Window


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
        self._identity: list[str] = []

    def accumulate(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """Add each task's gradient, summed over all axes but the channels."""
        self._latest = [
            [_channel_sums(gradient) for gradient in row]
            for row in feature_rows(micro_batch, backward)
        ]
        identity = [f"features {tuple(part.shape)}" for part in self._latest[0]]
        if self._sums and identity != self._identity:
            # A layer has joined in, and the heads leave the trunk at other tensors now.
            self.begin()
        self._identity = identity
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
        """The shapes of the sums: how many channels each shared feature has."""
        return self._identity


def _channel_sums(gradient: Tensor) -> Tensor:
    others = [axis for axis in range(gradient.ndim) if axis != 1]
    return gradient.float().sum(others) if others else gradient.float()
