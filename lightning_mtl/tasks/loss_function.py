"""Losses that the user of a task gives it."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lightning_mtl.checks import check_shape

__all__ = ["SURE", "LossFunction", "class_loss", "valid_loss"]

# The command line takes the class in YAML for one that builds what a callable returns, a tensor,
# unless modules are named on their own.
LossFunction = nn.Module | Callable[[Tensor, Tensor], Tensor]
"""`loss(prediction, target)`: a function, or a module such as `torch.nn.SmoothL1Loss`."""

SURE = 20.0
"""A logit whose cross entropy is zero to eight digits."""


def valid_loss(
    owner: str,
    loss: LossFunction,
    prediction: Float[Tensor, "*shape"],
    target: Float[Tensor, "*shape"],
    valid: Bool[Tensor, "..."],
    harmless: tuple[float, float] = (1.0, 1.0),
) -> Float[Tensor, ""]:
    """The mean of a loss over valid elements, or its own scalar.

    The loss sees all elements in float32. Invalid ones hold a prediction without an error, so that
    neither values nor gradients are NaN; in a loss that returns one scalar they count as such.

    Args:
        owner: the task, for the message.
        loss: returns a value for each element, for each pixel, or a scalar.
        prediction: what the loss is of.
        target: what it is compared with.
        valid: which elements count; broadcasts to `prediction`.
        harmless: prediction and target of invalid elements.

    Raises:
        TypeError: if the loss returns no tensor.
        ValueError: if the shape of the target or of the values does not fit.
    """
    check_shape(owner, "target", target, tuple(prediction.shape))
    prediction = torch.where(valid, prediction.float(), harmless[0])
    target = torch.where(valid, target.float(), harmless[1])
    return _mean_of_valid(owner, _called(loss, prediction, target), valid)


def class_loss(
    owner: str,
    loss: LossFunction,
    logits: Float[Tensor, "N C ..."],
    target: Int[Tensor, "N ..."],
    valid: Bool[Tensor, "N ..."],
) -> Float[Tensor, ""]:
    """As `valid_loss`, of classes: an ignored label becomes class 0, of which the logits are sure.

    Args:
        owner: the task, for the message.
        loss: returns a value for each label, for each logit, or a scalar.
        logits: scores of the classes.
        target: the class of each element.
        valid: which labels are not ignored.

    Raises:
        TypeError: if the loss returns no tensor.
        ValueError: if the shape of the target or of the values does not fit.
    """
    check_shape(owner, "target", target, (logits.shape[0], *logits.shape[2:]))
    first = torch.arange(logits.shape[1], device=logits.device) == 0
    sure = torch.where(first, SURE, -SURE).view(-1, *[1] * (target.ndim - 1))
    logits = torch.where(valid.unsqueeze(1), logits.float(), sure)
    target = torch.where(valid, target.long(), 0)
    return _mean_of_valid(owner, _called(loss, logits, target), valid)


def _called(loss: LossFunction, prediction: Tensor, target: Tensor) -> Tensor:
    # A task is no module, so nobody else moves what a loss holds, such as weights of classes.
    if isinstance(loss, nn.Module):
        loss.to(prediction.device)
    return loss(prediction, target)


def _mean_of_valid(owner: str, values: Tensor, valid: Tensor) -> Tensor:
    if not isinstance(values, Tensor):
        raise TypeError(
            f"The loss of `{owner}` should return a tensor. Found `{type(values).__name__}`."
        )
    if values.ndim == 0:
        return values
    mask = _on_axes_of(values, valid)
    if mask.ndim != values.ndim or any(
        size not in (1, wanted) for size, wanted in zip(mask.shape, values.shape, strict=True)
    ):
        raise ValueError(
            f"The loss of `{owner}` should return a scalar, or a value for each element or pixel,"
            f" of which {tuple(valid.shape)} may be valid. Found values of shape"
            f' {tuple(values.shape)}. Build the loss with `reduction="none"`.'
        )
    total = torch.where(mask, values.float(), 0).sum()
    return total / mask.expand_as(values).sum().clamp(min=1)


def _on_axes_of(values: Tensor, valid: Tensor) -> Tensor:
    """The mask with an axis of channels if the values have one, without if they have none."""
    if values.ndim == valid.ndim + 1:
        return valid.unsqueeze(1)
    if values.ndim == valid.ndim - 1 and valid.shape[1] == 1:
        return valid.squeeze(1)
    return valid
