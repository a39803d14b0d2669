"""The base of tasks that do what another task does."""

from abc import ABC
from collections.abc import Mapping
from pathlib import Path

from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lightning_mtl.tasks.colors import Color
from lightning_mtl.tasks.task import Task

__all__ = ["WrappedTask"]


class WrappedTask(Task, ABC):
    """A task that does what another one does, under a name of its own.

    Attributes:
        task: the other task.
    """

    task: Task

    def activate(self, raw: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        """The prediction of the wrapped task."""
        return self.task.activate(raw)

    def loss(self, prediction: Float[Tensor, "N C H W"], target: Tensor) -> Float[Tensor, ""]:
        """The loss of the wrapped task."""
        return self.task.loss(prediction, target)

    def valid(self, target: Tensor) -> Bool[Tensor, "..."] | None:
        """Which labels are valid for the wrapped task."""
        return self.task.valid(target)

    def count(self, target: Tensor) -> Float[Tensor, ""] | None:
        """The number of labels of the wrapped task."""
        return self.task.count(target)

    def metrics(self) -> Metric | MetricCollection:
        """New metrics of the wrapped task."""
        return self.task.metrics()

    def elements(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The valid elements of the wrapped task."""
        return self.task.elements(prediction, target)

    def write(self, prediction: Float[Tensor, "C H W"], path: Path) -> Path:
        """Write the file that the wrapped task writes."""
        return self.task.write(prediction, path)

    def draw(
        self, prediction: Float[Tensor, "N C H W"], target: Tensor | None = None
    ) -> Float[Tensor, "N 3 H W"]:
        """The pictures that the wrapped task draws."""
        return self.task.draw(prediction, target)

    def draw_target(self, target: Tensor) -> Float[Tensor, "N 3 H W"]:
        """The pictures of targets that the wrapped task draws."""
        return self.task.draw_target(target)

    def words(self, prediction: Float[Tensor, "N C H W"]) -> list[str]:
        """The words of the wrapped task on each prediction."""
        return self.task.words(prediction)

    def target_words(self, target: Tensor) -> list[str]:
        """The words of the wrapped task on each target."""
        return self.task.target_words(target)

    @property
    def palette(self) -> Mapping[str, Color]:
        """The legend of the wrapped task."""
        return self.task.palette

    def pixel_sum(self, target: Tensor) -> tuple[Float[Tensor, " C"], Float[Tensor, "*C"]]:
        """The sums of the wrapped task."""
        return self.task.pixel_sum(target)

    def check_form(self, target: Tensor) -> None:
        """Raise unless the shape and the dtype suit the wrapped task."""
        self.task.check_form(target)

    def check_content(self, target: Tensor) -> None:
        """Raise unless the values suit the wrapped task."""
        self.task.check_content(target)
