"""All metrics of one `Task`: its own, and those that its user has added."""

from copy import deepcopy
from typing import Any

from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.wrappers.abstract import WrapperMetric

from lightning_mtl.evaluation.results import directions_of, read_values
from lightning_mtl.tasks import Task

__all__ = ["TaskMetrics"]


class TaskMetrics(WrapperMetric):
    """The metrics of a task beside its `extra_metrics`, updated together.

    Extra metrics get the valid elements only (`Task.elements`), so that any metric of torchmetrics
    will do that takes predictions and targets.

    Args:
        task: whose metrics they are.

    Attributes:
        directions: whether higher is better, for each value; `None` where a metric does not say.
        primary: the value by which the task is compared.
    """

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.own = task.metrics()
        extra: dict[str, Any] = {
            name: deepcopy(metric) for name, metric in task.extra_metrics.items()
        }
        self.extra = MetricCollection(extra, compute_groups=False) if extra else None
        self.primary = (task.primary_metric,)
        self.directions = directions_of(self.own) | {task.primary_metric: task.higher_is_better}
        self._task = task
        if self.extra is not None:
            self.directions |= directions_of(self.extra)

    @property
    def update_called(self) -> bool:
        """True from the start: the metrics within are asked themselves."""
        return True

    def update(self, prediction: Tensor, metric_target: Any, target: Tensor) -> None:
        """Add a batch.

        Args:
            prediction: of the task.
            metric_target: what its own metrics compare with (`Task.metric_target`).
            target: what its loss compares with.
        """
        self.own.update(prediction, metric_target)
        if self.extra is not None:
            elements = self._task.elements(prediction, target)
            # A batch without labels would be an error to many metrics.
            if len(elements[0]):
                self.extra.update(*elements)

    def compute(self) -> dict[str, Tensor]:
        """All values by their names."""
        values = read_values(self._task.name, self.own)
        if self.extra is not None:
            values |= read_values(self._task.name, self.extra)
        return values

    def reset(self) -> None:
        """Forget all batches, called before each pass over a data set."""
        self.own.reset()
        if self.extra is not None:
            self.extra.reset()
