"""What counts as rounding in a Gramian of unit rows."""

import torch
from jaxtyping import Float
from torch import Tensor

DEPENDENT = 1e-10
"""The eigenvalue of a Gramian of unit rows below which these are dependent but for the rounding of
float32 gradients: a network's are right to 1e-6 or so, and 1e-5 is the angle that belongs to it."""

RIDGE = 1e-10
"""Added to a Gramian of unit rows in float64, so that dependent rows have a Cholesky factor."""

RIDGE_OF_OPPOSED = 1e-8
"""What the smallest eigenvalue of C is lifted to where opposed rows would make a solution infinite:
the rounding of float32 gradients."""


def resolution(gramian: Float[Tensor, "K K"]) -> float:
    """What the dtype cannot tell from zero in a Gramian of unit rows: 16 K roundings, but 1e-3."""
    return min(16 * len(gramian) * torch.finfo(gramian.dtype).eps, 1e-3)


def dependence(gramian: Float[Tensor, "K K"]) -> float:
    """The eigenvalue of C up to which unit rows count as dependent: `resolution`, but `DEPENDENT`.

    For rules that choose a rank: G may be summed in float64, but not so its rows.
    """
    return max(resolution(gramian), DEPENDENT)
