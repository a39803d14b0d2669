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
    "check_image",
    "check_labels",
    "check_number",
    "check_shape",
    "check_values",
]

BRIGHTEST = 10.0
"""More than a pixel of an image in [0, 1] has when brightened or standardised (white: 2.6)."""


def check_shape(owner: str, what: str, tensor: Tensor, expected: Sequence[int | str]) -> None:
    """Raise unless a tensor has the expected axes.

    Args:
        owner: who is given the tensor, for the message.
        what: what the tensor is, for the message.
        tensor: the tensor.
        expected: one entry per axis: its size, or a letter where any size will do.

    Raises:
        ValueError: if the number of axes or one of the sizes differs.
    """
    sizes = zip(tensor.shape, expected, strict=False)
    if tensor.ndim == len(expected) and all(
        isinstance(wanted, str) or size == wanted for size, wanted in sizes
    ):
        return
    shape = ", ".join(map(str, expected))
    raise ValueError(
        f"The {what} of `{owner}` should be of shape ({shape}). Found {tuple(tensor.shape)}."
    )


def check_dtype(owner: str, target: Tensor, *, floating: bool) -> None:
    """Raise unless a target is of a floating type, or of an integer type.

    Args:
        owner: who is given the target, for the message.
        target: the tensor.
        floating: whether it should be of a floating type.

    Raises:
        TypeError: if it is of the other kind.
    """
    if target.is_floating_point() != floating:
        kind = "a floating" if floating else "an integer"
        raise TypeError(f"The target of `{owner}` should be of {kind} type. Found {target.dtype}.")


def check_image(owner: str, image: Shaped[Tensor, "N I H W"]) -> None:
    """Raise unless images are of a floating type, finite and, as far as can be told, in [0, 1].

    Images that somebody has standardised already have values below zero and are let through, and
    so are brighter ones than 1, as augmentation may leave them. The channels after the first three,
    such as a depth map in metres, need not be in [0, 1]. Values are looked at on the host only.

    Args:
        owner: who is given the images, for the message.
        image: a batch of images.

    Raises:
        TypeError: if they are of an integer type.
        ValueError: if a value is NaN or infinite, or all look like those of 8-bit images.
    """
    if not image.is_floating_point():
        raise TypeError(
            f"`{owner}` should be given images of a floating type, in [0, 1]. Found {image.dtype}."
            " Divide them by the largest value that they can have, as by `image / 255`, in the"
            " data set."
        )
    if image.device.type != "cpu" or not image.numel():
        return
    low, high = (float(value) for value in image.aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(
            f"`{owner}` should be given finite images. Found NaN or infinity in"
            f" {int((~image.isfinite()).sum())} values. Fill them in, or leave such images out, in"
            " the data set."
        )
    if high > BRIGHTEST and image.ndim == 4 and image.shape[1] > 3:
        low, high = (float(value) for value in image[:, :3].aminmax())
    if low >= 0 and high > BRIGHTEST:
        raise ValueError(
            f"`{owner}` should be given images in [0, 1]. Found values from {low:g} to {high:g}."
            " Divide them by the largest value that they can have, as by `image / 255`, in the"
            " data set."
        )


def check_labels(
    owner: str, target: Int[Tensor, "*shape"], num_classes: int, ignore_index: int
) -> None:
    """Raise unless every label is a class or the ignored one; needs a target on the host.

    Args:
        owner: who is given the target, for the message.
        target: labels.
        num_classes: labels run from 0 to `num_classes - 1`.
        ignore_index: label of pixels without a class.

    Raises:
        ValueError: if a label is neither.
    """
    wrong = target[(target != ignore_index) & ((target < 0) | (target >= num_classes))]
    if wrong.numel():
        raise ValueError(
            f"The target of `{owner}` should have labels from 0 to {num_classes - 1}, or"
            f" {ignore_index} to ignore a pixel. Found labels outside from {int(wrong.min())} to"
            f" {int(wrong.max())} in {wrong.numel()} pixels. Raise `num_classes`, or map these"
            f" labels to {ignore_index}."
        )


def check_values(
    owner: str, expected: str, wrong: Shaped[Tensor, " W"], remedy: str, what: str = "value"
) -> None:
    """Raise if a target has any wrong value; needs these on the host.

    Args:
        owner: who is given the target, for the message.
        expected: what it should have, for the message.
        wrong: the values that are nothing of the kind.
        remedy: what to do about them, for the message.
        what: what the values are, for the message.

    Raises:
        ValueError: if there is one.
    """
    if wrong.numel():
        others = f"{wrong.numel()} other {what}{'s' * (wrong.numel() > 1)}"
        raise ValueError(
            f"The target of `{owner}` should have {expected}. Found {others}, such as"
            f" {float(wrong[0]):g}. {remedy}"
        )


def check_number(
    owner: str, name: str, value: float, low: float, high: float = math.inf, remedy: str = ""
) -> None:
    """Raise unless an argument is in its range, ends included.

    Args:
        owner: whose argument it is, for the message.
        name: its name, for the message.
        value: what was given.
        low: the least that it may be.
        high: the most that it may be.
        remedy: what to do, for the message.

    Raises:
        ValueError: if it is outside the range or not finite.
    """
    if not (low <= value <= high and math.isfinite(value)):
        allowed = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        message = f"`{owner}({name}=)` should be {allowed}. Found {value}. {remedy}"
        raise ValueError(message.rstrip())


def check_choice(
    owner: str, name: str, value: Any, choices: Sequence[str | int], remedy: str = ""
) -> None:
    """Raise unless an argument is one of several words or numbers.

    Args:
        owner: whose argument it is, for the message.
        name: its name, for the message.
        value: what was given.
        choices: the words or numbers.
        remedy: what to do, for the message.

    Raises:
        ValueError: if it is none of them.
    """
    if value not in choices:
        words = ", ".join(f'"{word}"' if isinstance(word, str) else str(word) for word in choices)
        message = f"`{owner}({name}=)` should be one of {words}. Found {value!r}. {remedy}"
        raise ValueError(message.rstrip())


def check_ignored(owner: str, num_classes: int, ignore_index: int) -> None:
    """Raise if the usual ignored label, 255, is a class by accident; another may be one on purpose.

    Args:
        owner: who has the classes, for the message.
        num_classes: labels run from 0 to `num_classes - 1`.
        ignore_index: label of what has no class.

    Raises:
        ValueError: if it is both.
    """
    if ignore_index == 255 < num_classes:
        raise ValueError(
            f"`{owner}(ignore_index=)` should be no class. Found 255 among {num_classes} classes,"
            " where it is one. Choose another, such as -1."
        )
