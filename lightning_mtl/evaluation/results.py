"""What a metric of torchmetrics, or a collection of them, tells: names, values, directions."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torchmetrics import Metric, MetricCollection

__all__ = ["AnyMetric", "directions_of", "primary_of", "read_values"]

AnyMetric = Metric | MetricCollection


def directions_of(metric: AnyMetric) -> dict[str, bool | None]:
    """Whether higher is better, for each value of a metric; `None` where the metric does not say.

    A metric with several values says it in its attribute `directions`, as those of this package do;
    others in torchmetrics' `higher_is_better`. Values that a metric names only when it computes
    them, as those of a `ClasswiseWrapper`, are not among these.

    Args:
        metric: of one task.
    """
    if isinstance(metric, MetricCollection):
        found: dict[str, bool | None] = {}
        for name, member in metric.items():
            several = getattr(member, "directions", None)
            found |= {str(name): member.higher_is_better} if several is None else several
        return found
    several = getattr(metric, "directions", None)
    return {type(metric).__name__: metric.higher_is_better} if several is None else dict(several)


def primary_of(metric: AnyMetric) -> str | None:
    """The value by which results are compared: the first that has a direction.

    Metrics with several values may name others first, in their attribute `primary`.

    Args:
        metric: of one task.
    """
    directions = directions_of(metric)
    named = [*getattr(metric, "primary", ()), *directions]
    return next((name for name in named if directions.get(name) is not None), None)


def read_values(task: str, metric: AnyMetric) -> dict[str, Tensor]:
    """Each value over everything since the last reset, by its name; for all ranks together.

    Args:
        task: whose metric it is, for messages.
        metric: of that task. The only value of a metric is named after its class.

    Raises:
        TypeError: if no value is a number.
    """
    computed: Any = metric.compute()
    values = computed if isinstance(computed, Mapping) else {type(metric).__name__: computed}
    numbers = {name: torch.as_tensor(value) for name, value in values.items() if _is_number(value)}
    others = sorted(str(name) for name in values.keys() - numbers.keys())
    if others and not numbers:
        raise TypeError(
            f"The metric of the task `{task}` should have a number as its value. Found a"
            f" `{type(metric).__name__}` with others: {', '.join(others)}. Let it average, as by"
            ' `average="macro"`, or wrap it into `torchmetrics.wrappers.ClasswiseWrapper`.'
        )
    if others:
        rank_zero_warn(
            f"The metric of the task `{task}` should have numbers as its values. Found others,"
            f" which are not logged: {', '.join(others)}."
        )
    return {str(name): value.reshape(()) for name, value in numbers.items()}


def _is_number(value: Any) -> bool:
    return value.numel() == 1 if isinstance(value, Tensor) else isinstance(value, (int, float))
