"""What a place of measurement is.

A price counts F, a forward pass; H, the backward passes of all heads; B, one backward pass of the
trunk, and B_last of its last layer; K tasks.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.gradients import Gradients, gramian
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.task_backward import TaskBackward
from lightning_mtl.engine.window import Window


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
