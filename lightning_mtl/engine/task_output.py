"""What `task_losses` returns, checked and taken apart."""

import math
from collections.abc import Mapping
from numbers import Number
from typing import Any, NamedTuple

import torch
from torch import Tensor

TaskLoss = Tensor | tuple[Tensor, Tensor | float]
"""A loss, or a loss and the number of labels that it is a mean over."""


class TaskOutput(NamedTuple):
    """The losses of one batch by task, and for some of them over how many labels they are means."""

    losses: dict[str, Tensor]
    counts: dict[str, Tensor]


def read_output(module: str, returned: Any) -> TaskOutput:
    """Refuse what is not a dict of differentiable scalars, and part losses and counts.

    Args:
        module: name of the class whose `task_losses` returned it.
        returned: what it returned.

    Raises:
        TypeError: if it is no dict, or an empty one.
        ValueError: if a loss or a count is no scalar, or a loss has no graph.
    """
    name = f"`{module}.task_losses`"
    if not isinstance(returned, Mapping) or not returned:
        raise TypeError(
            f"{name} should return a dict of at least one task and its loss. Found {returned!r}."
            " Leave out only the tasks without labels. A batch without any label teaches nothing:"
            " drop it in the data loader."
        )
    losses: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}
    for task, value in returned.items():
        loss, count = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
        _check_loss(name, task, loss)
        # A subclass of tensors may lack what it keeps beside its values.
        losses[task] = loss if type(loss) is Tensor else loss.as_subclass(Tensor)
        if count is not None:
            counts[task] = _read_count(name, task, count, loss)
    return TaskOutput(losses, counts)


def _check_loss(name: str, task: str, loss: Any) -> None:
    if not isinstance(loss, Tensor):
        raise ValueError(
            f"{name} should return one scalar tensor per task. Found {_number(loss)} for the task"
            f" `{task}`. Return the tensor itself: `.item()`, `float()` and NumPy cut it off from"
            " the parameters that it should train."
        )
    if loss.ndim:
        raise ValueError(
            f"{name} should return one scalar tensor per task. Found shape {tuple(loss.shape)} for"
            f" the task `{task}`. Reduce it to one number, by `.mean()` for instance."
        )
    if not loss.requires_grad:
        raise ValueError(
            f"{name} should return losses that are computed from the module's parameters. Found"
            f" one of the task `{task}` that has no graph, so that it would train nothing."
            " Leave a task without labels out of the dict, and check for `detach`, `item` and"
            " `no_grad`."
        )


def _number(loss: Any) -> str:
    """What stands in the place of a tensor: the kind and the value of a number, or the value."""
    return f"the {type(loss).__name__} {loss}" if isinstance(loss, Number) else f"{loss!r}"


def _read_count(name: str, task: str, count: Any, loss: Tensor) -> Tensor:
    """The count as a scalar on the device of the loss; a tensor there is not waited for."""
    problem = ""
    if isinstance(count, Tensor):
        if count.numel() != 1 or count.is_complex():
            problem = f"a tensor of shape {tuple(count.shape)}"
        elif count.device.type == "cpu" and not 0 <= float(count) < math.inf:
            problem = f"{float(count)}"
    elif isinstance(count, bool) or not isinstance(count, (int, float)):
        problem = f"{count!r}"
    elif not 0 <= count < math.inf:
        problem = f"{count}"
    if problem:
        raise ValueError(
            f"{name} should return the number of labels beside the loss of the task `{task}`: zero"
            f" or a positive number, or a scalar tensor of one. Found {problem}. Return the number"
            " that the sum of errors was divided by, or the loss alone."
        )
    if isinstance(count, Tensor):
        return count.detach().reshape(())
    return torch.full((), float(count), device=loss.device)
