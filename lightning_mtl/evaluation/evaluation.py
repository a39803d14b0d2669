"""The metrics of all tasks over one pass of validation or test."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_mtl.distributed import union_over_ranks
from lightning_mtl.evaluation.results import AnyMetric, directions_of, primary_of, read_values
from lightning_mtl.metrics.performance import check_baselines, multi_task_performance

__all__ = ["Evaluation", "check_metrics"]


class Evaluation:
    """Adds up the metrics of all tasks, batch by batch, and gives their values at the end.

    A task that no batch has a target for has no values, and is no error. The metrics are not part
    of a module: they follow the device of what they are given.

    Args:
        metrics: of each task, without any data yet.
        baselines: the primary value of a single-task run for each task; adds Delta_MTL.
        owner: who has the metrics and the baselines, for messages.

    Raises:
        TypeError: if a metric is none of torchmetrics.
        ValueError: if the baselines do not fit the tasks, or a task's metric has no direction.
    """

    def __init__(
        self,
        metrics: Mapping[str, AnyMetric],
        baselines: Mapping[str, float] | None = None,
        owner: str = "Evaluation",
    ) -> None:
        check_metrics(owner, metrics)
        self.metrics = dict(metrics)
        self.baselines = None if baselines is None else dict(baselines)
        self._owner = owner
        self._updated: list[str] = []
        self._devices: dict[str, torch.device] = {}
        if self.baselines is not None:
            self._check_baselines(self.baselines)

    def reset(self) -> None:
        """Forget all batches. Called before each pass, since one may have been interrupted."""
        self._updated = []
        # A state made in inference mode, in which Lightning validates and tests, could not be added
        # to outside of it, as in a later fit.
        with torch.inference_mode(False):
            for metric in self.metrics.values():
                metric.reset()

    def update(self, arguments: Mapping[str, Sequence[Any]]) -> None:
        """Add a batch.

        Args:
            arguments: what `update` of each task's metric is given, prediction and target in most
                cases. Tasks that the batch has no target for are left out.

        Raises:
            TypeError: if a task's arguments are no sequence.
            ValueError: if a task has no metric.
        """
        for task, given in arguments.items():
            if task not in self.metrics:
                raise ValueError(
                    f"`{self._owner}.task_predictions` should return predictions of tasks that have"
                    f" a metric: {list(self.metrics)}. Found `{task}`. Add its metric to"
                    " `task_metrics`, or leave it out."
                )
            if not isinstance(given, (tuple, list)):
                raise TypeError(
                    f"`{self._owner}.task_predictions` should return `(prediction, target)` for"
                    f" each task. Found {type(given).__name__} for the task `{task}`."
                )
            self._follow_device(task, given)
            self.metrics[task].update(*given)
            if task not in self._updated:
                self._updated.append(task)

    def compute(self) -> dict[str, dict[str, Tensor]]:
        """The values of each task that any rank has updated; all ranks call it together."""
        updated = union_over_ranks(self._updated)
        return {
            task: read_values(task, metric)
            for task, metric in self.metrics.items()
            if task in updated
        }

    def delta_mtl(self, values: Mapping[str, Mapping[str, Tensor]]) -> float | Tensor | None:
        """Delta_MTL in percent over the baselines; `None` without these, or if a task has no value.

        Args:
            values: what `compute` gives.
        """
        primary = {task: primary_of(metric) for task, metric in self.metrics.items()}
        found = {
            task: values[task][name]
            for task, name in primary.items()
            if name is not None and name in values.get(task, {})
        }
        if self.baselines is None or found.keys() != self.baselines.keys():
            return None
        directions = {task: self._direction(task) for task in found}
        return multi_task_performance(found, self.baselines, directions)

    def _follow_device(self, task: str, arguments: Sequence[Any]) -> None:
        """Move the metric of a task to where its arguments are, unless it is there."""
        device = next((each.device for each in arguments if isinstance(each, Tensor)), None)
        if device is not None and self._devices.get(task) != device:
            self.metrics[task].to(device)
            self._devices[task] = device

    def _direction(self, task: str) -> bool:
        """Whether higher is better for the value of a task that has a baseline."""
        metric = self.metrics[task]
        name = primary_of(metric)
        if name is None:
            raise ValueError(
                f"The metric of the task `{task}`, which has a baseline in `{self._owner}`, should"
                f" say whether higher is better. Found {type(metric).__name__}, which does not."
                " Put a metric with a `higher_is_better` first."
            )
        return bool(directions_of(metric)[name])

    def _check_baselines(self, baselines: Mapping[str, float]) -> None:
        if baselines.keys() != self.metrics.keys():
            raise ValueError(
                f"`{self._owner}.baselines` should give one number for each of"
                f" {sorted(self.metrics)}. Found {sorted(baselines)}."
            )
        check_baselines(self._owner, baselines)
        for task in baselines:
            self._direction(task)


def check_metrics(owner: str, metrics: Any) -> None:
    """Raise unless there is a metric of torchmetrics for each task.

    Args:
        owner: whose `task_metrics` gave them, for the message.
        metrics: what it gave.

    Raises:
        TypeError: if they are none.
    """
    if not isinstance(metrics, Mapping) or not metrics:
        raise TypeError(
            f"`{owner}.task_metrics` should return a dict with a metric for each task. Found"
            f" {metrics!r}."
        )
    for task, metric in metrics.items():
        if not isinstance(metric, AnyMetric):
            raise TypeError(
                f"`{owner}.task_metrics` should return a `Metric` or a `MetricCollection` of"
                f" torchmetrics for each task. Found {metric!r} for the task `{task}`."
            )
