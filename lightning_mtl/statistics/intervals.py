"""Confidence intervals, of one number or of an array, and that of a mean."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike
from scipy import stats

from lightning_mtl.statistics.arguments import check_level, finite_array


class Interval(NamedTuple):
    """An estimate with its confidence interval.

    Attributes:
        mean: the estimate.
        low: the lower end; minus infinity where a single value says nothing about the noise.
        high: the upper end; infinity there.
        count: how many independent values it comes from.
    """

    mean: float
    low: float
    high: float
    # The field hides `tuple.count`, which nobody asks of an interval.
    count: int  # type: ignore[assignment]

    @property
    def half_width(self) -> float:
        """The distance from the middle to either end, as in "mean ± half-width"."""
        return (self.high - self.low) / 2

    def excludes(self, value: float) -> bool:
        """Whether a value, such as zero, lies outside; never if the interval is infinite."""
        return not self.low <= value <= self.high


class Intervals(NamedTuple):
    """Estimates, a number or an array, with the confidence interval of each entry.

    Attributes:
        mean: the estimates; NaN where there is none.
        low: the lower ends; minus infinity where nothing is known.
        high: the upper ends; infinity there.
        count: how many samples, or blocks of samples, they come from.
    """

    mean: Float[np.ndarray, "*shape"]
    low: Float[np.ndarray, "*shape"]
    high: Float[np.ndarray, "*shape"]
    # The field hides `tuple.count`, which nobody asks of an interval.
    count: int  # type: ignore[assignment]

    @property
    def half_width(self) -> Float[np.ndarray, "*shape"]:
        """The distance from the middle to either end, for each entry."""
        return (self.high - self.low) / 2

    def excludes(self, value: ArrayLike) -> Bool[np.ndarray, "*shape"]:
        """Whether a value, such as zero, lies outside, for each entry; never if it is infinite."""
        return ~((self.low <= value) & (value <= self.high))

    def within(self, low: float, high: float) -> "Intervals":
        """The same, cut off at what is possible, such as -1 and 1 of a cosine."""
        mean, lower, upper = (np.clip(each, low, high) for each in self[:3])
        return Intervals(mean, lower, upper, self.count)

    def entry(self, *index: int) -> Interval:
        """The interval of one entry, such as `entry(i, j)`; that of a number is `entry()`."""
        mean, low, high = (float(each[index]) for each in (self.mean, self.low, self.high))
        return Interval(mean, low, high, self.count)


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """The mean and its confidence interval by Student's t distribution.

    x̄ ± t_{n-1}((1 + level) / 2) s / √n, with the standard deviation s of n independent values, such
    as one for each seed ("Student", "The probable error of a mean", Biometrika 1908). The interval
    of a single value is infinite; that of equal values has no width.

    >>> interval = mean_interval([1.0, 2.0, 3.0])
    >>> f"{interval.mean:.2f} ± {interval.half_width:.2f}"
    '2.00 ± 2.48'

    Args:
        values: at least one, independent of each other and about normally distributed.
        level: the share of such intervals that hold the true mean.

    Raises:
        ValueError: if there are no values, or one is NaN or infinite.
    """
    check_level("mean_interval", level)
    numbers = finite_array("mean_interval", "values", values, axes=1).tolist()
    count = len(numbers)
    if not count:
        raise ValueError("`mean_interval(values=)` should hold at least one value. Found none.")
    # Not `fmean`: the mean of equal values should be that value.
    mean = statistics.mean(numbers)
    if count == 1:
        return Interval(mean, -math.inf, math.inf, count)
    standard_error = statistics.stdev(numbers) / math.sqrt(count)
    half_width = float(stats.t.ppf((1 + level) / 2, count - 1)) * standard_error
    return Interval(mean, mean - half_width, mean + half_width, count)
