"""Intervals of ratios: they hold the truth whether or not the denominator stands out."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from lightning_mtl.statistics import effective_count, mean_interval, ratio_interval


def decaying(count: int, decay: float) -> np.ndarray:
    powers = decay ** np.arange(count)[::-1]
    return powers / powers.sum()


def test_over_ones_it_is_the_interval_of_student() -> None:
    samples = np.random.default_rng(0).normal(size=9)
    found = ratio_interval(samples, np.ones(9), level=0.9)
    np.testing.assert_allclose(found.entry(), mean_interval(samples, level=0.9))


def test_its_ends_are_where_the_test_of_a_literal_twin_turns() -> None:
    generator = np.random.default_rng(1)
    x, y = generator.normal(1, 1, 12), generator.normal(3, 1, 12)

    def rejection(ratio: float) -> float:
        return float(stats.ttest_1samp(x - ratio * y, 0).pvalue) - 0.05

    found = ratio_interval(x, y)
    middle = x.mean() / y.mean()
    low, high = (optimize.brentq(rejection, middle, middle + side) for side in (-2, 2))
    np.testing.assert_allclose(found.entry(), (middle, low, high, 12))


@pytest.mark.parametrize("decay", [0.9, 1.0])
@pytest.mark.parametrize("mean", [0.1, 0.5, 5.0], ids=["noise", "between", "signal"])
@pytest.mark.parametrize("count", [5, 40])
def test_95_percent_of_the_intervals_hold_the_ratio(count: int, mean: float, decay: float) -> None:
    generator = np.random.default_rng(count)
    y = mean + generator.normal(size=(count, 6000))
    x = -0.5 * mean + 0.6 * (y - mean) + generator.normal(size=y.shape)
    found = ratio_interval(x, y, decaying(count, decay))
    assert abs(found.excludes(-0.5).mean() - 0.05) < 0.02


def test_zero_is_excluded_just_where_it_is_for_the_numerator() -> None:
    generator = np.random.default_rng(2)
    x, y = generator.normal(0.5, 1, (10, 500)), generator.normal(0.8, 1, (10, 500))
    found = ratio_interval(x, y).excludes(0.0)
    expected = [mean_interval(column).excludes(0.0) for column in x.T]
    assert 0 < np.mean(expected) < 1
    assert found.tolist() == expected


def test_a_denominator_that_may_be_zero_leaves_the_sign() -> None:
    denominators = np.array([1.0, -0.9, 1.1, -0.8])
    for sign in (1, -1):
        found = ratio_interval(sign * np.array([2.0, 2.1, 1.9, 2.0]), denominators).entry()
        ends = sorted([sign * found.low, sign * found.high])
        assert ends[0] > 0 and ends[1] == math.inf
    assert ratio_interval(denominators, denominators[::-1]).entry()[1:3] == (-math.inf, math.inf)


def test_a_denominator_below_zero_has_no_ratio() -> None:
    found = ratio_interval(np.ones(5), -np.arange(1.0, 6.0)).entry()
    assert math.isnan(found.mean)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_each_entry_of_an_array_has_the_interval_that_it_has_alone() -> None:
    x, y = np.random.default_rng(3).uniform(1, 2, (2, 8, 3, 2))
    shares = decaying(8, 0.8)
    found = ratio_interval(x, y, shares, block=2)
    alone = ratio_interval(x[:, 2, 1], y[:, 2, 1], shares, block=2)
    np.testing.assert_allclose(found.entry(2, 1), alone.entry())


def test_blocks_of_equal_samples_count_once() -> None:
    x, y = np.random.default_rng(4).uniform(1, 2, (2, 7))
    once = ratio_interval(x, y, decaying(7, 0.8))
    thrice = ratio_interval(x.repeat(3), y.repeat(3), decaying(7, 0.8).repeat(3), block=3)
    np.testing.assert_allclose(thrice.entry(), once.entry())


def test_a_block_that_does_not_fit_makes_the_first_one_longer() -> None:
    x, y = np.random.default_rng(5).uniform(1, 2, (2, 7))
    shares = decaying(7, 0.8)
    groups = [[0, 1, 2], [3, 4], [5, 6]]
    total = np.array([shares[group].sum() for group in groups])
    means = [[np.average(v[group], weights=shares[group]) for group in groups] for v in (x, y)]
    expected = ratio_interval(np.array(means[0]), np.array(means[1]), total)
    found = ratio_interval(x, y, shares, block=2)
    np.testing.assert_allclose(found.entry(), expected.entry())
    assert effective_count(shares, 2) == pytest.approx(effective_count(total))


def test_equal_shares_count_all_and_decaying_ones_fewer() -> None:
    assert effective_count(np.full(12, 0.3)) == pytest.approx(12)
    assert effective_count(np.ones(12), 3) == pytest.approx(4)
    # (1 - d⁴) / ((1 + d)² (1 - d)²) of a long exponential average.
    assert effective_count(decaying(200, 0.9)) == pytest.approx(9.526, abs=1e-3)


def test_equal_samples_have_an_interval_without_width() -> None:
    found = ratio_interval(np.full(4, 3.0), np.full(4, 2.0)).entry()
    assert found[:3] == pytest.approx((1.5, 1.5, 1.5), abs=1e-7)


@pytest.mark.parametrize(("count", "block"), [(1, 1), (5, 3), (2, 10)])
def test_a_single_block_has_an_infinite_interval(count: int, block: int) -> None:
    found = ratio_interval(np.ones(count), np.ones(count), block=block).entry()
    assert found == (1.0, -math.inf, math.inf, 1)


@pytest.mark.parametrize(("count", "block"), [(0, 1), (3, 0)], ids=["no samples", "blocks of none"])
def test_samples_and_blocks_are_at_least_one(count: int, block: int) -> None:
    with pytest.raises(ValueError, match="at least one sample, and blocks of at least one"):
        ratio_interval(np.ones(count), np.ones(count), block=block)


@pytest.mark.parametrize("name", ["numerators", "denominators"])
def test_samples_that_are_not_finite_are_an_error(name: str) -> None:
    given = {"numerators": np.ones(2), "denominators": np.ones(2), name: np.array([1.0, np.inf])}
    with pytest.raises(ValueError, match=rf"`ratio_interval\({name}=\)` should be finite"):
        ratio_interval(**given)
