"""Checks of arguments that several tasks have."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from torchmetrics import Metric

from lightning_mtl.tasks.task import Task

__all__ = ["check_class_weights", "check_names", "checked_metrics"]


def check_names(owner: str, names: Sequence[str] | None, count: int) -> None:
    """Raise unless there is one name for each class, and no two are the same.

    Args:
        owner: whose classes they are, for the message.
        names: of the classes; `None` if they have none.
        count: how many classes there are.

    Raises:
        ValueError: if the number of names differs, or two are the same.
    """
    if names is None:
        return
    if isinstance(names, str) or len(names) != count:
        found = repr(names) if isinstance(names, str) else f"{len(names)} names"
        raise ValueError(
            f"`{owner}(class_names=)` should be {count} names, one for each class in its order."
            f" Found {found}."
        )
    if twice := sorted({name for name in names if list(names).count(name) > 1}):
        raise ValueError(
            f"`{owner}(class_names=)` should be names that differ. Found {twice} more than once."
        )


def check_class_weights(
    owner: str, weights: Sequence[float] | None, num_classes: int, own_loss: bool
) -> None:
    """Raise unless there is one weight for each class, which the cross entropy can use.

    Args:
        owner: whose classes they are, for the message.
        weights: of the classes; `None` if all are alike.
        num_classes: how many classes there are.
        own_loss: whether the user has given a loss in place of the cross entropy.

    Raises:
        ValueError: if the number of weights differs, one is negative or not finite, all are 0, or
            there is a loss that knows nothing of them.
    """
    if weights is None:
        return
    if own_loss:
        raise ValueError(
            f"`{owner}(class_weights=)` should be given without a `loss`: they are weights in the"
            " cross entropy. Found both. Let your loss weigh the classes."
        )
    if (
        len(weights) != num_classes
        or not all(weight >= 0 and math.isfinite(weight) for weight in weights)
        or not any(weights)
    ):
        raise ValueError(
            f"`{owner}(class_weights=)` should be {num_classes} finite numbers of at least 0, not"
            f" all 0, one for each class in its order. Found {list(weights)}."
        )


def checked_metrics(task: Task, extra: Mapping[str, Metric] | None) -> Mapping[str, Metric]:
    """The metrics that a user has added to those of a task, by their names in logs.

    Args:
        task: a task whose `metrics` can be built.
        extra: metrics of torchmetrics without any data yet; `None` for no metric.

    Raises:
        TypeError: if one is no metric of torchmetrics.
        ValueError: if a name is that of a value which the task measures itself, or has a dot.
    """
    if extra is None:
        return MappingProxyType({})
    owner = f"{type(task).__name__}(extra_metrics=)"
    for name, metric in extra.items():
        if not isinstance(metric, Metric):
            raise TypeError(
                f"`{owner}` should be metrics of torchmetrics by their names. Found"
                f" `{type(metric).__name__}` for {name!r}. Pass an object, not its class."
            )
    own = set(getattr(task.metrics(), "directions", ()))
    if wrong := sorted(name for name in extra if name in own or not name or "." in name):
        raise ValueError(
            f"`{owner}` should have names without a dot that are not among {sorted(own)}, which"
            f" the task measures itself. Found {wrong}. Choose others."
        )
    return MappingProxyType(dict(extra))
