"""Which methods differ by more than the noise of their seeds: Welch's t-test, corrected by Holm.

The samples are taken as independent, although runs of the same seed start from the same parameters
and see the batches in the same order. They do not share their noise: rounding and another weighting
send two runs apart within some steps, so that pairing by seed gains little, and its t-test has only
half as many degrees of freedom. Where runs of a seed are positively correlated nevertheless, the
unpaired test is the conservative choice.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from lightning_mtl.statistics.arguments import check_level, finite_array
from lightning_mtl.statistics.intervals import Interval


class Difference(NamedTuple):
    """The difference between two methods.

    Attributes:
        first: the name of a method.
        second: the name of the method that it is compared with.
        interval: the mean of the first less that of the second, with Welch's interval, which is not
            corrected for the number of pairs; `count` is that of the method with fewer values. It
            is infinite where there is no test.
        p_value: adjusted by Holm's correction; NaN where there is no test.
        is_larger_than_noise: whether the p-value is at most one less the level.
    """

    first: str
    second: str
    interval: Interval
    p_value: float
    is_larger_than_noise: bool


def compare_pairs(samples: Mapping[str, Sequence[float]], level: float = 0.95) -> list[Difference]:
    """The differences of all pairs of methods, in the order of their names in the mapping.

    If all methods are equal, the chance that any pair is found to differ is at most one less the
    level.

    >>> [pair] = compare_pairs({"a": [3.0, 3.1, 2.9], "b": [1.0, 1.2, 1.1]})
    >>> round(pair.interval.mean, 2), pair.is_larger_than_noise
    (1.9, True)

    Args:
        samples: one value for each seed, such as Delta_MTL, by method. A method with fewer than two
            values is listed, but not tested.
        level: of the intervals and of the test.

    Raises:
        ValueError: if a method has no value, or one is NaN or infinite.
    """
    return _compare("compare_pairs", samples, list(itertools.combinations(samples, 2)), level)


def compare_with(
    reference: str, samples: Mapping[str, Sequence[float]], level: float = 0.95
) -> list[Difference]:
    """The differences of all other methods from one of them, such as the sum of the losses.

    There are fewer tests than of all pairs, and hence smaller differences are found. The reference
    has to be chosen before the results are known.

    Args:
        reference: the name of a method in `samples`.
        samples: see `compare_pairs`.
        level: see `compare_pairs`.

    Raises:
        ValueError: if the reference is no method, a method has no value, or one is NaN or infinite.
    """
    if reference not in samples:
        raise ValueError(
            f"`compare_with(reference=)` should be one of {list(samples)}. Found {reference!r}."
        )
    pairs = [(name, reference) for name in samples if name != reference]
    return _compare("compare_with", samples, pairs, level)


def welch_test(
    first: Float[np.ndarray, " n"], second: Float[np.ndarray, " m"], level: float
) -> tuple[Interval, float]:
    """The difference of two means with its interval, and the p-value of its being zero.

    t = (x̄ - ȳ) / √(s²/n + u²/m), with the degrees of freedom of Welch, "The generalization of
    'Student's' problem when several different population variances are involved", Biometrika 1947.

    There is no test, a p-value of NaN and an infinite interval, with fewer than two values on one
    side, or if all values on either side are equal, as those of a coarse metric may be: no noise is
    seen then, although there may be some.
    """
    count = min(len(first), len(second))
    mean = float(first.mean() - second.mean())
    if count < 2 or not (np.ptp(first) or np.ptp(second)):
        return Interval(mean, -math.inf, math.inf, count), math.nan
    # Not `scipy.stats.ttest_ind`, which warns where the values of one side are equal.
    parts = [float(each.var(ddof=1)) / len(each) for each in (first, second)]
    standard_error = math.sqrt(sum(parts))
    shares = [part / sum(parts) for part in parts]
    freedom = 1 / (shares[0] ** 2 / (len(first) - 1) + shares[1] ** 2 / (len(second) - 1))
    half_width = float(stats.t.ppf((1 + level) / 2, freedom)) * standard_error
    p_value = 2 * float(stats.t.sf(abs(mean) / standard_error, freedom))
    return Interval(mean, mean - half_width, mean + half_width, count), p_value


def holm(p_values: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Adjusted p-values, to be compared with α whatever the number of tests.

    The i-th smallest of m becomes max_{j ≤ i} (m - j + 1) p_j, at most 1. If those of at most α are
    rejected, the chance that any is rejected wrongly is at most α: Holm, "A simple sequentially
    rejective multiple test procedure", Scandinavian Journal of Statistics 1979. NaN stands for a
    test that was not made: it stays, and does not count in m.
    """
    order = np.argsort(p_values)[: np.isfinite(p_values).sum()]
    factors = np.arange(len(order), 0, -1)
    adjusted = np.full(len(p_values), np.nan)
    adjusted[order] = np.maximum.accumulate(factors * p_values[order]).clip(max=1)
    return adjusted


def _compare(
    owner: str,
    samples: Mapping[str, Sequence[float]],
    pairs: Sequence[tuple[str, str]],
    level: float,
) -> list[Difference]:
    check_level(owner, level)
    if empty := [name for name, values in samples.items() if not len(values)]:
        raise ValueError(
            f"`{owner}(samples=)` should hold at least one value for each method. Found none for"
            f" {empty}. Leave them out."
        )
    arrays = {
        name: finite_array(owner, f"samples[{name!r}]", values, axes=1)
        for name, values in samples.items()
    }
    tests = [welch_test(arrays[first], arrays[second], level) for first, second in pairs]
    adjusted = holm(np.array([p_value for _, p_value in tests])).tolist()
    return [
        Difference(first, second, interval, p_value, p_value <= 1 - level)
        for (first, second), (interval, _), p_value in zip(pairs, tests, adjusted, strict=True)
    ]
