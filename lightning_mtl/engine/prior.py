"""Prior weights of the tasks: what their losses are multiplied by before they are balanced."""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.transfers import to_device


def prior_weights(
    given: Mapping[str, float], tasks: Sequence[str], like: Tensor
) -> Float[Tensor, " K"] | None:
    """The prior weights c of a run; `None` if all are 1, so that nothing is multiplied.

    Args:
        given: c_k by the names of the tasks; 1 for a task that is not named.
        tasks: the names of all tasks.
        like: a number of the device and the dtype of losses.
    """
    numbers = [float(given.get(task, 1.0)) for task in tasks]
    if all(number == 1 for number in numbers):
        return None
    return to_device(torch.tensor(numbers, dtype=like.dtype), like.device)


def scaled_losses(losses: Mapping[str, Tensor], given: Mapping[str, float]) -> dict[str, Tensor]:
    """The losses c_k L_k, by the names of the tasks.

    Args:
        losses: L_k.
        given: c_k; 1 for a task that is not named.
    """
    return {
        task: loss * given[task] if given.get(task, 1.0) != 1 else loss
        for task, loss in losses.items()
    }


def check_prior(owner: str, given: Any) -> None:
    """Refuse prior weights that are not positive and finite.

    Args:
        owner: the weighting that they are given to, for the message.
        given: what was given.

    Raises:
        TypeError: if it is no dict of numbers.
        ValueError: if one of them is zero, negative or not finite.
    """
    if not isinstance(given, Mapping) or not all(map(_is_number, given.values())):
        raise TypeError(
            f"`{owner}(prior=)` should be a dict of one number for each task. Found {given!r}. Name"
            " the tasks whose losses count more or less than others, as in `{'depth': 2.0}`."
        )
    if not all(0 < number < math.inf for number in given.values()):
        raise ValueError(
            f"`{owner}(prior=)` should be positive and finite. Found {dict(given)}. Use a small"
            " number for a task that should count little, or leave its loss out to drop it."
        )


def check_prior_names(owner: str, given: Mapping[str, float], tasks: Sequence[str]) -> None:
    """Refuse prior weights of tasks that there are not. Called at the first step of a run.

    Args:
        owner: the weighting that they are given to, for the message.
        given: them, by name.
        tasks: the names of all tasks.

    Raises:
        ValueError: if a name is none of a task.
    """
    unknown = sorted(set(given) - set(tasks))
    if unknown:
        raise ValueError(
            f"`{owner}(prior=)` should name tasks among {tuple(tasks)}. Found {unknown}. Correct"
            " the names, or those of the tasks; set `task_names` if the first batch lacks some."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
