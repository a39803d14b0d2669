"""Showing DDP a use of every parameter."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter


class _Anchor(torch.autograd.Function):
    """The identity on a loss, whose graph reaches other tensors as well: times zero."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, *others: Tensor) -> Tensor:
        ctx.others = [(other.shape, other.dtype, other.device) for other in others]
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        zeros = [
            torch.zeros((), dtype=dtype, device=device).expand(shape)
            for shape, dtype, device in ctx.others
        ]
        return gradient, *zeros


def anchor(loss: Tensor, parameters: Sequence[Parameter]) -> Tensor:
    """The same loss, whose backward pass gives zeros to all of these parameters.

    With `find_unused_parameters`, DDP takes every parameter that a loss does not reach for one that
    will get no gradient at this step, and does not start to reduce before the first gradient comes.
    A loss that reaches none of them would leave the other ranks waiting.

    Args:
        loss: a scalar.
        parameters: all that are trained.
    """
    return _Anchor.apply(loss, *parameters)
