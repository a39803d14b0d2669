"""Checks of what a rule, perhaps a user's own, has returned."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def check_weights(name: str, weights: Any, num_tasks: int) -> None:
    """Refuse weights that are not one number for each task present.

    Args:
        name: of the method that returned it.
        weights: what it returned.
        num_tasks: how many are present.
    """
    _check_shape(name, weights, num_tasks, f"one weight for each of the {num_tasks} tasks present")


def check_finite_weights(name: str, weights: Tensor) -> None:
    """Refuse NaN, infinity, and what float32 can't hold, in which gradients are combined.

    Args:
        name: of the method that returned them.
        weights: on the host.
    """
    if not bool(torch.isfinite(weights.float()).all()):
        raise ValueError(
            f"`{name}` should return finite weights. Found {weights.tolist()}, from finite losses"
            " and gradients. On a CPU no parameter has been changed by this step. Look for a"
            " division by zero: the gradient of a task may vanish."
        )


def check_finite_direction(name: str, largest: Float[Tensor, ""]) -> None:
    """Refuse NaN and infinity in a combined gradient.

    Args:
        name: of the method that returned it.
        largest: its largest absolute value, on the host.
    """
    if not bool(largest.isfinite()):
        raise ValueError(
            f"`{name}` should return a finite direction. Found NaN or infinity, from finite losses"
            " and gradients. On a CPU no parameter has been changed by this step. Look for a"
            " division by zero, and for squares of very large gradients."
        )


def check_direction(name: str, direction: Any, size: int) -> None:
    """Refuse a combined gradient that is not one number for each shared parameter.

    Args:
        name: of the method that returned it.
        direction: what it returned.
        size: how many numbers the shared parameters have.
    """
    _check_shape(name, direction, size, "one number for each column of the Jacobian")


def _check_shape(name: str, answer: Any, size: int, meaning: str) -> None:
    if not isinstance(answer, Tensor):
        raise TypeError(
            f"`{name}` should return a tensor of shape ({size},), {meaning}. Found"
            f" `{type(answer).__name__}`."
        )
    if tuple(answer.shape) != (size,):
        raise ValueError(
            f"`{name}` should return a tensor of shape ({size},), {meaning}. Found shape"
            f" {tuple(answer.shape)}."
        )
