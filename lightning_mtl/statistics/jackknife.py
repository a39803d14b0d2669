"""The jackknife: intervals of what is no mean, such as a ratio of averages."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike
from scipy import stats

from lightning_mtl.statistics.arguments import check_level, finite_array
from lightning_mtl.statistics.intervals import Interval


class JackknifeInterval(NamedTuple):
    """An estimate, a number or an array, with the confidence interval of each entry.

    Attributes:
        mean: the estimate, corrected for its bias: the mean of the pseudo-values.
        low: the lower end; minus infinity where nothing is known.
        high: the upper end; infinity there.
        count: how many blocks were left out, one at a time.
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

    def entry(self, *index: int) -> Interval:
        """The interval of one entry, such as `entry(i, j)`; that of a number is `entry()`."""
        mean, low, high = (float(each[index]) for each in (self.mean, self.low, self.high))
        return Interval(mean, low, high, self.count)


def jackknife_interval(
    estimator: Callable[[Float[np.ndarray, "n *sample"]], ArrayLike],
    samples: Float[np.ndarray, "n *sample"],
    level: float = 0.95,
    block: int = 1,
) -> JackknifeInterval:
    """A smooth function of averages, corrected for its bias, with its confidence interval.

    With g blocks and the estimates θ̂ of all samples and θ̂_(j) of all but those of block j, the
    pseudo-values are h_j θ̂ - (h_j - 1) θ̂_(j), where h_j = n / m_j for m_j samples in the block.
    Their mean (weighted by 1 / h_j) is the estimate, their spread gives its variance, and the
    interval is that of Student's t with g - 1 degrees of freedom: Tukey, "Bias and confidence in
    not-quite large samples", Annals of Mathematical Statistics 1958, and for blocks of different
    sizes Busing, Meijer and van der Leeden, "Delete-m jackknife for unequal m", Statistics and
    Computing 1999. For the mean and blocks of one it is the interval of `mean_interval`.

    It is made for ratios of averages, such as the cosine of two gradients from the averages of an
    unbiased Gramian; medians and maxima are not smooth enough. An entry that is undefined (NaN or
    infinite) for all samples or without some block has an infinite interval.

    Args:
        estimator: maps samples to a number or an array of fixed shape. It is called once with all
            of them, and once without each block.
        samples: one for each index of the first axis, in the order in which they were taken.
        level: the share of such intervals that hold the true value.
        block: how many consecutive samples are left out together: as many as depend on each other,
            such as steps that share a batch. Some blocks have more if it does not divide n.

    Raises:
        ValueError: if there are no samples, one is NaN or infinite, or `block` is below 1.
    """
    check_level("jackknife_interval", level)
    samples = finite_array("jackknife_interval", "samples", samples, axes=np.ndim(samples) or 1)
    if block < 1 or not len(samples):
        raise ValueError(
            "`jackknife_interval` should be given at least one sample, and blocks of at least one."
            f" Found {len(samples)} samples and blocks of {block}."
        )
    whole = np.asarray(estimator(samples), dtype=np.float64)
    blocks = np.array_split(np.arange(len(samples)), max(len(samples) // block, 1))
    count = len(blocks)
    infinite = np.full_like(whole, np.inf)
    if count == 1:
        return JackknifeInterval(whole[()], -infinite[()], infinite[()], count)
    without = np.stack([estimator(np.delete(samples, each, axis=0)) for each in blocks])
    known = np.isfinite(whole) & np.isfinite(without).all(0)
    estimate, variance = _pseudo_value_moments(
        np.where(known, whole, 0.0),
        np.where(known, without, 0.0),
        np.array([len(each) / len(samples) for each in blocks]),
    )
    half_width = stats.t.ppf((1 + level) / 2, count - 1) * np.sqrt(variance)
    mean = np.where(known, estimate, whole)
    low = np.where(known, estimate - half_width, -infinite)
    high = np.where(known, estimate + half_width, infinite)
    return JackknifeInterval(mean[()], low[()], high[()], count)


def _pseudo_value_moments(
    whole: Float[np.ndarray, "*shape"],
    without: Float[np.ndarray, "g *shape"],
    shares: Float[np.ndarray, " g"],
) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    """The mean of the pseudo-values and its variance, from the shares 1 / h_j of the blocks."""
    share = shares.reshape(-1, *[1] * whole.ndim)
    pseudo_values = whole / share - (1 / share - 1) * without
    estimate = (share * pseudo_values).sum(0)
    variance = ((pseudo_values - estimate) ** 2 / (1 / share - 1)).mean(0)
    return estimate, variance
