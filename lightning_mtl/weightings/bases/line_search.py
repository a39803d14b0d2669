"""Optimizers that compare several evaluations of the losses, as if those were of one function."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn
from torch.optim import LBFGS


def warn_of_compared_evaluations(weighting: str, optimizers: Sequence[Any]) -> None:
    """Warn of L-BFGS, where weights may change between evaluations. Called once in a run.

    L-BFGS takes differences of gradients for curvature. With a line search it also compares the
    values of the total with the slope that the gradient gives it: a gradient that is not that of
    the total may end the search where it began.

    Args:
        weighting: the name of its class.
        optimizers: of the Trainer.
    """
    if any(isinstance(optimizer, LBFGS) for optimizer in optimizers):
        rank_zero_warn(
            f"`{weighting}` should have an optimizer that uses each gradient by itself, as its"
            " weights change. Found `LBFGS`, which compares the values and gradients of several"
            " evaluations as those of one function. Train with `torch.optim.Adam` first, say, and"
            " go on with fixed weights, such as the last `train/weight/<task>` of that run."
        )
