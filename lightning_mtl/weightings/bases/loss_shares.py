"""Softmax weights of losses, and how a loss has changed: parts of several loss-level rules."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def softmax_shares(
    exponents: Float[Tensor, " K"], included: Bool[Tensor, " K"]
) -> Float[Tensor, " K"]:
    """The softmax over the n included tasks, times n: all shares are 1 if all exponents are equal.

    Args:
        exponents: of any size; those beyond the range of their dtype count as its largest number.
        included: the others have a share of 0.
    """
    largest = torch.finfo(exponents.dtype).max
    finite = exponents.clamp(min=-largest, max=largest)
    shares = torch.softmax(torch.where(included, finite, -torch.inf), 0)
    # Not a number where no task is included.
    return included.sum() * torch.where(included, shares, 0.0)


def relative_to(losses: Float[Tensor, " K"], before: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
    """The ratio of each loss to an earlier one; 1 for a task without an earlier one, NaN there."""
    return torch.where(torch.isnan(before), torch.ones_like(losses), losses / before)
