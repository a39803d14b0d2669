"""Intervals of expected cosines and gradient-to-noise ratios hold the truth as often as said."""

import math

import numpy as np
import pytest
import torch

from lightning_mtl.linalg.gradient_noise import gradient_to_noise
from lightning_mtl.monitors.error_bars import (
    block_length,
    cosine_intervals,
    decaying_shares,
    noise_ratio_intervals,
    pair_cosines,
)
from tests.monitors.synthetic import MEANS, WEIGHTS, measured_runs, noise_covariance

NORMS = np.linalg.norm(MEANS, axis=1)
COSINES = MEANS @ MEANS.T / np.outer(NORMS, NORMS)


def true_ratios(noise: float) -> np.ndarray:
    gramian, covariance = (
        torch.from_numpy(matrix) for matrix in (MEANS @ MEANS.T, noise_covariance(noise))
    )
    return gradient_to_noise(torch.from_numpy(WEIGHTS), gramian, covariance).numpy()


def coverage(parts: int, noise: float, steps: int, repeats: int) -> np.ndarray:
    """The shares of intervals that hold a negative cosine, a cosine of 0.6, and the ratios.

    Of 250 runs for each of the repeats.
    """
    block = 2 if parts == 1 else 1
    truths = (COSINES[0, 1], COSINES[1, 2], true_ratios(noise))
    held = []
    for seed in range(repeats):
        found = measured_runs(parts, noise, steps, 250, seed)
        one, other = (pair_cosines(found.pairs(*p), 0.9, 0.95, block) for p in ((0, 1), (1, 2)))
        ratios = noise_ratio_intervals(found.signal, found.covariance, WEIGHTS, 0.9, block)
        intervals = (one.within(-1, 1), other.within(-1, 1), ratios)
        held.append(
            [1 - each.excludes(true).mean() for each, true in zip(intervals, truths, strict=True)]
        )
    return np.mean(held, axis=0)


@pytest.mark.parametrize("parts", [2, 4])
def test_95_percent_of_the_intervals_hold_cosines_and_ratios(parts: int) -> None:
    assert coverage(parts, 1.0, 20, repeats=3) == pytest.approx([0.95] * 3, abs=0.025)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [6, 20])
@pytest.mark.parametrize("noise", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("parts", [2, 4, 8])
def test_95_percent_of_the_intervals_hold_the_truth_at_three_levels_of_noise(
    parts: int, noise: float, steps: int
) -> None:
    assert coverage(parts, noise, steps, repeats=8) == pytest.approx([0.95] * 3, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2, 4, 8])
def test_where_noise_drowns_the_signal_intervals_hold_the_truth_at_least_as_often(
    parts: int,
) -> None:
    assert coverage(parts, 100.0, 20, repeats=8).min() > 0.93


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.1, 1.0, 5.0])
def test_consecutive_steps_that_share_a_batch_cost_at_most_three_points(noise: float) -> None:
    assert coverage(1, noise, 20, repeats=8).min() > 0.92


def test_noise_alone_is_no_conflict_more_often_than_the_level_says() -> None:
    found = measured_runs(2, 1e4, 20, 1000, seed=1)
    cosines = pair_cosines(found.pairs(0, 1), 0.9, 0.95, 1)
    assert (cosines.high < 0).mean() < 0.04


def test_estimates_are_ratios_of_weighted_averages() -> None:
    found = measured_runs(4, 1.0, 8, 1, seed=0)
    signal, covariance, squares = found.signal[:, 0], found.covariance[:, 0], found.squares[:, 0]
    scale = np.sqrt(squares)
    scaled = signal / (scale[:, :, None] * scale[:, None, :])
    powers = [0.9**age for age in range(7, -1, -1)]
    average = sum(p * c for p, c in zip(powers, scaled, strict=True)) / sum(powers)
    cosines = cosine_intervals(scaled, 0.9, 0.95, 1)
    ratios = noise_ratio_intervals(signal, covariance, WEIGHTS, 0.9, 1)
    for i in range(3):
        for j in range(3):
            expected = average[i, j] / math.sqrt(average[i, i] * average[j, j])
            assert cosines.mean[i, j] == pytest.approx(expected)
            assert cosines.low[i, j] <= expected + 1e-12
            assert cosines.high[i, j] >= expected - 1e-12
        means, noises = (
            sum(p * m for p, m in zip(powers, each, strict=True)) / sum(powers)
            for each in (signal, covariance)
        )
        others = [j for j in range(3) if j != i]
        pull = sum(WEIGHTS[j] * WEIGHTS[k] * means[j, k] for j in others for k in others)
        expected = WEIGHTS[i] ** 2 * means[i, i] / (WEIGHTS @ noises @ WEIGHTS + pull)
        assert ratios.mean[i] == pytest.approx(expected)
        assert ratios.low[i] < expected < ratios.high[i]


def test_a_pair_is_judged_by_the_measurements_in_which_both_took_part() -> None:
    found = measured_runs(4, 1.0, 20, 1, seed=2)
    scale = np.sqrt(found.squares[:, 0])
    scaled = found.signal[:, 0] / (scale[:, :, None] * scale[:, None, :])
    absent = scaled.copy()
    absent[::2, 2], absent[::2, :, 2] = np.nan, np.nan
    partly, whole = (cosine_intervals(each, 0.9, 0.95, 1) for each in (absent, scaled))
    half = cosine_intervals(scaled[1::2], 0.9, 0.95, 1)
    assert partly.entry(0, 1)[:3] == pytest.approx(whole.entry(0, 1)[:3])
    assert partly.entry(1, 2)[:3] == pytest.approx(half.entry(1, 2)[:3])
    assert partly.entry(2, 1) == partly.entry(1, 2)


def test_of_too_few_measurements_nothing_is_concluded() -> None:
    found = measured_runs(4, 0.1, 20, 1, seed=3)
    scaled = found.signal[:, 0]
    for count, block, known in ((0, 1, False), (4, 1, False), (5, 1, True), (10, 2, False)):
        cosine = cosine_intervals(scaled[:count], 0.9, 0.95, block).entry(0, 1)
        ratio = noise_ratio_intervals(
            scaled[:count], found.covariance[:count, 0], WEIGHTS, 0.9, block
        )
        assert math.isfinite(cosine.mean) == np.isfinite(ratio.mean).all() == known
        if not known:
            assert (cosine.low, cosine.high) == (-1, 1)
            assert (ratio.low == 0).all() and np.isinf(ratio.high).all()


def test_no_signal_has_no_cosine_and_a_ratio_that_may_be_zero() -> None:
    signal = np.broadcast_to(-np.eye(2), (6, 2, 2))
    cosine = cosine_intervals(signal, 0.9, 0.95, 1).entry(0, 1)
    assert math.isnan(cosine.mean)
    assert (cosine.low, cosine.high) == (-1, 1)
    ratio = noise_ratio_intervals(signal, 2 * np.ones((6, 2, 2)), np.ones(2), 0.9, 1)
    assert ratio.low.tolist() == [0, 0]


def test_the_blocks_of_a_long_series_grow() -> None:
    lengths = [block_length(decaying_shares(count, 1.0), 2) for count in (0, 10, 45, 300)]
    assert lengths == [2, 2, 3, 20]
    assert block_length(decaying_shares(300, 0.9), 1) == 1
