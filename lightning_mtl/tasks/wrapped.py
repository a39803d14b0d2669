"""A task that is another one under a name of its own."""

from abc import ABC

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.metrics.pooled import PooledMetric
from lightning_mtl.tasks.task import Task

__all__ = ["WrappedTask"]


class WrappedTask(Task, ABC):
    """Does what another task does.

    Attributes:
        task: The other task.
    """

    task: Task

    def loss(self, prediction: Float[Tensor, "N C H W"], target: Tensor) -> Float[Tensor, ""]:
        """The loss of the task."""
        return self.task.loss(prediction, target)

    def metrics(self) -> PooledMetric:
        """New metrics of the task."""
        return self.task.metrics()

    def draw(
        self, prediction: Float[Tensor, "N C H W"], target: Tensor | None = None
    ) -> Float[Tensor, "N 3 H W"]:
        """The picture of the task."""
        return self.task.draw(prediction, target)

    def draw_target(self, target: Tensor) -> Float[Tensor, "N 3 H W"]:
        """The picture of the task."""
        return self.task.draw_target(target)

    def pixel_sum(self, target: Tensor) -> tuple[Float[Tensor, " C"], Float[Tensor, "*C"]]:
        """The sum of the task."""
        return self.task.pixel_sum(target)

    def check_form(self, target: Tensor) -> None:
        """The check of the task."""
        self.task.check_form(target)

    def check_content(self, target: Tensor) -> None:
        """The check of the task."""
        self.task.check_content(target)
