"""What a place of measurement is.

A price counts F, a forward pass; H, the backward passes of all heads; B, one backward pass of the
trunk, and B_last of its last layer; K tasks.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.coming import Coming
from lightning_mtl.engine.gradients import Gradients, gramian, real
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.preconditioner import Preconditioner
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

    def prepare(self, coming: Coming, draw_seed: Callable[[], int]) -> Sequence[Tensor]:
        """Get ready for a window of one micro-batch. Called before its losses are computed.

        Args:
            coming: the micro-batch.
            draw_seed: draws a seed, the same on all ranks.

        Returns:
            Leaves that the graph will hold beside the parameters.
        """
        return ()

    def release(self) -> None:  # noqa: B027
        """Let go of what `prepare` has set up. Called after the last backward pass."""

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
        preconditioner: the metric of the inner products; `None` for the usual one.
        parameters: those that the rows are gradients of, where there is a metric.
    """

    size: ClassVar[str]
    preconditioner: Preconditioner | None = None
    parameters: Sequence[Tensor] = ()

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
        return self.products(self.rows(window))

    def products(self, rows: list[Gradients]) -> Float[Tensor, "k k"]:
        """The inner products of gradients that were measured here, in the metric."""
        metric = self.preconditioner
        return gramian(rows, None if metric is None else metric.divisors(self.parameters))

    def preconditioned(self, rows: list[Gradients]) -> list[Gradients]:
        """The gradients D^-1/2 g, whose usual inner products are those in the metric."""
        metric = self.preconditioner
        divisors = None if metric is None else metric.divisors(self.parameters)
        if divisors is None:
            return rows
        roots = torch._foreach_sqrt(divisors)
        return [list(torch._foreach_div([real(g) for g in row], roots)) for row in rows]
