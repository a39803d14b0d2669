"""A running mean of one positive number per task."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.weightings.memory.entries import PerTask


class RunningMean:
    """The mean of the positive numbers that each task has had; a zero says nothing.

    A mean and not a sum, which may leave the range in which the numbers are.

    Args:
        mean: entry of the mean.
        count: entry of how many numbers it is a mean of.
    """

    def __init__(self, mean: PerTask, count: PerTask) -> None:
        self.mean = mean
        self.count = count

    def add(self, values: Float[Tensor, " k"]) -> None:
        """Take in one number for each task present; those that are not positive are left out."""
        count = self.count.read(values) + (values > 0)
        mean = self.mean.read(values)
        moved = mean + (values - mean) / count.clamp(min=1)
        self.mean.write(torch.where(values > 0, moved, mean))
        self.count.write(count)
