"""Checks of what comes into a metric or a task; those that read values run on the host only."""

from collections.abc import Sequence

from jaxtyping import Int
from torch import Tensor

__all__ = ["check_dtype", "check_labels", "check_shape"]


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
        kind = "floating" if floating else "integer"
        raise TypeError(f"`{owner}` expects a target of a {kind} type. Found {target.dtype}.")


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
