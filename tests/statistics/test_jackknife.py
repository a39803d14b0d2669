import math

import numpy as np
import pytest

from lightning_mtl.statistics import jackknife_interval, mean_interval


def ratio_of_means(samples: np.ndarray) -> float:
    return samples[:, 0].mean() / samples[:, 1].mean()


def cosines(gramians: np.ndarray) -> np.ndarray:
    gramian = gramians.mean(0)
    norms = np.sqrt(gramian.diagonal())
    return gramian / np.outer(norms, norms)


def test_for_the_mean_it_is_the_interval_of_student() -> None:
    samples = np.random.default_rng(0).normal(size=9)
    found = jackknife_interval(np.mean, samples, level=0.9)
    np.testing.assert_allclose(found, mean_interval(samples, level=0.9))


def test_the_bias_of_order_one_over_n_is_removed_exactly() -> None:
    """The variance with n in its denominator becomes the one with n - 1."""
    samples = np.random.default_rng(1).normal(size=7)
    assert jackknife_interval(np.var, samples).mean == pytest.approx(samples.var(ddof=1))


def test_95_percent_of_the_intervals_hold_a_ratio_of_means() -> None:
    generator = np.random.default_rng(2)
    missed = 0
    for _ in range(2000):
        denominator = generator.normal(5, 1, 12)
        numerator = 0.5 * denominator + generator.normal(7.5, 1, 12)
        samples = np.stack([numerator, denominator], axis=1)
        missed += jackknife_interval(ratio_of_means, samples).excludes(2.0)
    assert abs(missed / 2000 - 0.05) < 0.02


def test_95_percent_of_the_intervals_hold_the_cosine_of_two_gradients() -> None:
    """From unbiased Gramians: products of independent halves of a batch."""
    generator = np.random.default_rng(3)
    gradients = np.array([[1.0, 0.0, 0.0], [0.5, math.sqrt(0.75), 0.0]])
    missed = 0
    for _ in range(1000):
        halves = gradients + generator.normal(0, 0.5, (2, 40, 2, 3))
        products = np.einsum("nip,njp->nij", *halves)
        found = jackknife_interval(cosines, (products + products.transpose(0, 2, 1)) / 2)
        missed += bool(found.excludes(0.5)[0, 1])
    assert abs(missed / 1000 - 0.05) < 0.025


def test_blocks_of_equal_samples_count_once() -> None:
    samples = np.random.default_rng(4).uniform(1, 2, (8, 2))
    once = jackknife_interval(ratio_of_means, samples)
    thrice = jackknife_interval(ratio_of_means, samples.repeat(3, axis=0), block=3)
    np.testing.assert_allclose(thrice, once)


def test_blocks_of_different_sizes_follow_the_published_formula() -> None:
    """Busing, Meijer and van der Leeden 1999, equations for the estimate and the variance."""
    samples = np.random.default_rng(5).uniform(1, 2, (7, 2))
    blocks = [[0, 1, 2], [3, 4], [5, 6]]
    whole = ratio_of_means(samples)
    estimate, variance = 3 * whole, 0.0
    without = [ratio_of_means(np.delete(samples, block, axis=0)) for block in blocks]
    for block, other in zip(blocks, without, strict=True):
        estimate -= (1 - len(block) / 7) * other
    for block, other in zip(blocks, without, strict=True):
        h = 7 / len(block)
        variance += (h * whole - (h - 1) * other - estimate) ** 2 / (h - 1) / 3
    found = jackknife_interval(ratio_of_means, samples, block=2)
    assert found.count == 3
    assert found.mean == pytest.approx(estimate)
    # The quantile of Student's t with two degrees of freedom, from a table.
    assert found.half_width == pytest.approx(4.30265 * math.sqrt(variance), rel=1e-5)


def test_each_entry_of_an_array_has_the_interval_that_it_has_alone() -> None:
    samples = np.random.default_rng(6).uniform(1, 2, (10, 3))
    found = jackknife_interval(lambda each: np.outer(each.mean(0), 1 / each.mean(0)), samples)
    assert found.low.shape == found.excludes(0).shape == found.half_width.shape == (3, 3)
    alone = jackknife_interval(lambda each: each[:, 2].mean() / each[:, 1].mean(), samples)
    np.testing.assert_allclose(found.entry(2, 1), alone.entry())
    assert found.entry(2, 1).excludes(0) is True


def test_an_entry_that_is_undefined_somewhere_has_an_infinite_interval() -> None:
    samples = np.array([-1.0, 2.0, 2.5, 3.0])

    def partly_undefined(each: np.ndarray) -> np.ndarray:
        return np.array([each.mean(), math.nan if each.mean() > 2 else each.mean()])

    found = jackknife_interval(partly_undefined, samples)
    assert np.isfinite(found.half_width).tolist() == [True, False]
    assert found.mean[1] == samples.mean()
    assert not found.excludes(100.0)[1]


@pytest.mark.parametrize(("count", "block"), [(1, 1), (5, 3), (2, 10)])
def test_a_single_block_has_an_infinite_interval(count: int, block: int) -> None:
    found = jackknife_interval(np.mean, np.arange(count), block=block)
    assert found.entry() == (np.arange(count).mean(), -math.inf, math.inf, 1)


@pytest.mark.parametrize(("count", "block"), [(0, 1), (3, 0)], ids=["no samples", "blocks of none"])
def test_samples_and_blocks_are_at_least_one(count: int, block: int) -> None:
    with pytest.raises(ValueError, match="at least one sample, and blocks of at least one"):
        jackknife_interval(np.mean, np.ones(count), block=block)


def test_samples_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"`jackknife_interval\(samples=\)` should be finite"):
        jackknife_interval(np.mean, np.array([1.0, np.nan]))
