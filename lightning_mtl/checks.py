"""Checks of arguments, predictions and targets; those that read values run on the host only."""

import math
from collections.abc import Sequence
from typing import Any

from jaxtyping import Int, Shaped
from torch import Tensor

__all__ = [
    "check_choice",
    "check_dtype",
    "check_ignored",
    "check_labels",
    "check_number",
    "check_shape",
    "check_values",
]


def check_shape(owner: str, what: str, tensor: Tensor, expected: Sequence[int | str]) -> None:
    """Raise unless a tensor has the expected axes.

    Args:
        owner: Who expects it, for the message.
        what: What the tensor is, for the message.
        tensor: The tensor.
        expected: One entry per axis: its size, or a letter where any size will do.

    Raises:
        ValueError: If the number of axes or one of the sizes differs.
    """
    sizes = zip(tensor.shape, expected, strict=False)
    if tensor.ndim == len(expected) and all(
        isinstance(wanted, str) or size == wanted for size, wanted in sizes
    ):
        return
    shape = ", ".join(map(str, expected))
    raise ValueError(f"`{owner}` expects a {what} of shape ({shape}). Found {tuple(tensor.shape)}.")


def check_dtype(owner: str, target: Tensor, *, floating: bool) -> None:
    """Raise unless a target is of a floating type, or of an integer type.

    Args:
        owner: Who expects it, for the message.
        target: The tensor.
        floating: Which of the two it has to be.

    Raises:
        TypeError: If it is of the other kind.
    """
    if target.is_floating_point() != floating:
        kind = "a floating" if floating else "an integer"
        raise TypeError(f"`{owner}` expects a target of {kind} type. Found {target.dtype}.")


def check_labels(
    owner: str, target: Int[Tensor, "*shape"], num_classes: int, ignore_index: int
) -> None:
    """Raise unless every label is a class or the ignored one; needs a target on the host.

    Args:
        owner: Who expects it, for the message.
        target: Labels.
        num_classes: Labels run from 0 to `num_classes - 1`.
        ignore_index: Label of pixels without a class.

    Raises:
        ValueError: If a label is neither.
    """
    wrong = target[(target != ignore_index) & ((target < 0) | (target >= num_classes))]
    if wrong.numel():
        raise ValueError(
            f"`{owner}` expects labels from 0 to {num_classes - 1}, or {ignore_index} to ignore a "
            f"pixel. Found labels outside from {int(wrong.min())} to {int(wrong.max())} in "
            f"{wrong.numel()} pixels. Raise `num_classes`, or map these labels to {ignore_index}."
        )


def check_values(
    owner: str, expected: str, wrong: Shaped[Tensor, " W"], remedy: str, what: str = "value"
) -> None:
    """Raise if any value is wrong; needs it on the host.

    Args:
        owner: Who expects others, for the message.
        expected: Which ones, for the message.
        wrong: Those that are not.
        remedy: What to do about them, for the message.
        what: What they are, for the message.

    Raises:
        ValueError: If there is one.
    """
    if wrong.numel():
        others = f"{wrong.numel()} other {what}{'s' * (wrong.numel() > 1)}"
        raise ValueError(
            f"`{owner}` expects {expected}. Found {others}, such as {float(wrong[0]):g}. {remedy}"
        )


def check_number(owner: str, name: str, value: float, low: float, high: float = math.inf) -> None:
    """Raise unless an argument is in its range, ends included.

    Args:
        owner: Whose argument it is, for the message.
        name: Its name, for the message.
        value: What was given.
        low: The least that it may be.
        high: The most that it may be.

    Raises:
        ValueError: If it is neither in the range nor finite.
    """
    if not (low <= value <= high and math.isfinite(value)):
        allowed = f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise ValueError(f"`{owner}` expects `{name}` {allowed}. Found {value}.")


def check_choice(owner: str, name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise unless an argument is one of several words.

    Args:
        owner: Whose argument it is, for the message.
        name: Its name, for the message.
        value: What was given.
        choices: The words.

    Raises:
        ValueError: If it is none of them.
    """
    if value not in choices:
        words = ", ".join(f'"{choice}"' for choice in choices)
        raise ValueError(f"`{owner}` expects `{name}` to be one of {words}. Found {value!r}.")


def check_ignored(owner: str, num_classes: int, ignore_index: int) -> None:
    """Raise if the usual ignored label, 255, is a class by accident; another may be one on purpose.

    Args:
        owner: Who has the classes, for the message.
        num_classes: Labels run from 0 to `num_classes - 1`.
        ignore_index: Label of what has no class.

    Raises:
        ValueError: If it is both.
    """
    if ignore_index == 255 < num_classes:
        raise ValueError(
            f"`{owner}` expects an `ignore_index` that is no class. Found 255 among "
            f"{num_classes} classes, where it is one. Choose another, such as -1."
        )
