import math

import numpy as np
import pytest
from scipy import stats

from lightning_mtl.statistics import Interval, mean_interval


@pytest.mark.parametrize("count", [2, 3, 5])
def test_95_percent_of_the_intervals_hold_the_true_mean(count: int) -> None:
    samples = np.random.default_rng(count).normal(7.0, 3.0, (4000, count))
    missed = np.mean([mean_interval(sample).excludes(7.0) for sample in samples])
    assert abs(missed - 0.05) < 0.015


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_the_interval_is_that_of_scipy(level: float) -> None:
    values = [3.2, -1.0, 4.4, 0.3]
    found = mean_interval(values, level)
    expected = stats.ttest_1samp(values, 0).confidence_interval(level)
    np.testing.assert_allclose(found[:3], [np.mean(values), expected.low, expected.high])
    assert found.count == 4


def test_one_value_has_an_infinite_interval() -> None:
    interval = mean_interval([2.0])
    assert interval == Interval(2.0, -math.inf, math.inf, 1)
    assert interval.half_width == math.inf
    assert not interval.excludes(1e9)


def test_equal_values_have_an_interval_without_width() -> None:
    assert mean_interval([0.1, 0.1, 0.1]) == Interval(0.1, 0.1, 0.1, 3)


def test_both_ends_belong_to_the_interval() -> None:
    interval = Interval(mean=1.0, low=0.0, high=2.0, count=3)
    assert interval.half_width == 1.0
    outside = [interval.excludes(value) for value in (-0.1, 0.0, 2.0, 2.1)]
    assert outside == [True, False, False, True]


def test_no_values_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"should hold at least one value. Found none"):
        mean_interval([])


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_values_that_are_not_finite_are_an_error(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"`mean_interval\(values=\)` should be finite"):
        mean_interval([1.0, wrong])
