"""Estimates from synthetic gradients: right on average, and no conflict is seen in noise."""

import math

import numpy as np
import pytest

from lightning_mtl.diagnosis.gradients import critical_batches, gradient_series, pairs, shares
from tests.diagnosis.series import measurements, noisy, quick_series

MEANS = np.zeros((2, 40))
MEANS[0, :2], MEANS[1, :2] = (3.0, 0.0), (-1.0, 2.0)
COSINE = -1 / math.sqrt(5)


def series(gradients, tasks=("one", "two"), **settings):
    return gradient_series(tasks, measurements(gradients, tasks, **settings))


def test_scaled_products_are_those_of_a_literal_twin():
    gradients = noisy(MEANS, 1.0, 12, 0)
    found = series(gradients, weights=(2.0, 0.5))
    # Of 11 comparisons the first two are left out.
    for index, step in enumerate(range(3, 12)):
        now, before = gradients[step], gradients[step - 1]
        square = [(now[k] @ now[k] + before[k] @ before[k]) / 2 for k in range(2)]
        product = [
            [(now[i] @ before[j] + before[i] @ now[j]) / 2 for j in range(2)] for i in range(2)
        ]
        total = 4 * square[0] + 0.25 * square[1]
        for i in range(2):
            for j in range(2):
                expected = product[i][j] / math.sqrt(square[i] * square[j])
                assert found.correlations[index, i, j] == pytest.approx(expected)
        assert found.squares[index] == pytest.approx(square)
        powers = [4 * product[0][0] / total, 0.25 * product[1][1] / total]
        assert found.powers[index] == pytest.approx(powers)


def test_the_estimates_are_right_within_their_intervals():
    found = series(noisy(MEANS, 0.5, 400, 1))
    (pair,) = pairs(found)
    assert pair.conflicts
    assert pair.cosine.low < COSINE < pair.cosine.high < 0
    norms = np.linalg.norm(MEANS, axis=1)
    for share, norm in zip(shares(found).values(), norms, strict=True):
        assert share.low < norm / norms.sum() < share.high
    for critical, norm in zip(critical_batches(found).values(), norms, strict=True):
        # The trace of the noise of one sample over the squared norm.
        assert critical.low < 32 * 40 * 0.25 / norm**2 < critical.high


def test_no_step_counts_more_than_another_where_gradients_shrink():
    shrinking = np.geomspace(1, 1e-4, 400)[:, None, None]
    gradients = noisy(MEANS, 0.5, 400, 1)
    gradients[200:, 1, 1] *= -1
    gradients[200:, 0, 1] *= -1
    (pair,) = pairs(series(gradients * shrinking))
    assert pair.cosine.low < COSINE < pair.cosine.high


def test_the_quick_series_of_these_tests_is_that_of_the_package():
    gradients = noisy(MEANS, 1.0, 12, 0)
    for name in ("correlations", "squares", "powers"):
        quick = getattr(quick_series(gradients), name)[2:]
        assert quick == pytest.approx(getattr(series(gradients), name))


def test_a_common_factor_of_all_steps_changes_nothing():
    gradients = noisy(MEANS, 1.0, 60, 2)
    one, other = (pairs(series(factor * gradients))[0] for factor in (1, 1e-3))
    assert one.cosine == pytest.approx(other.cosine)


def test_a_conflict_of_independent_noise_is_rarer_than_the_level_says():
    empty = np.zeros((2, 200))
    found = [pairs(quick_series(noisy(empty, 1.0, 100, seed)))[0].conflicts for seed in range(400)]
    # Half of 5 % lie below zero; three standard deviations more is .048.
    assert np.mean(found) < 0.048


def test_no_conflict_is_seen_between_orthogonal_gradients_more_often_than_the_level_says():
    means = np.zeros((3, 60))
    means[range(3), range(3)] = 3.0
    found = []
    for seed in range(300):
        gradients = noisy(means, 1.0, 100, seed)
        found.append(any(pair.conflicts for pair in pairs(quick_series(gradients))))
    assert np.mean(found) < 0.025 + 3 * math.sqrt(0.025 * 0.975 / 300)


def test_a_real_conflict_is_seen_nearly_always():
    found = [pairs(quick_series(noisy(MEANS, 1.0, 100, seed)))[0].conflicts for seed in range(50)]
    assert np.mean(found) > 0.95


def test_the_interval_of_a_cosine_covers_it_as_often_as_it_says():
    covered = []
    for seed in range(400):
        (pair,) = pairs(quick_series(noisy(MEANS, 0.7, 120, seed)))
        covered.append(pair.cosine.low < COSINE < pair.cosine.high)
    assert 0.92 < np.mean(covered) < 0.98


def test_pure_noise_has_an_infinite_critical_batch_and_no_cosine():
    found = series(noisy(np.zeros((2, 500)), 1.0, 100, 6))
    assert all(math.isinf(each.high) for each in critical_batches(found).values())
    assert all(each.low > 10 * 32 for each in critical_batches(found).values())


def test_an_absent_task_leaves_the_others_as_they_are():
    gradients = noisy(MEANS, 1.0, 60, 4)
    both = measurements(gradients)
    alone = measurements(gradients[:, :1], ("one",))
    mixed = [
        other if index % 2 else one
        for index, (one, other) in enumerate(zip(both, alone, strict=True))
    ]
    found = gradient_series(("one", "two"), mixed)
    whole = gradient_series(("one", "two"), both)
    assert found.correlations[:, 0, 0] == pytest.approx(whole.correlations[:, 0, 0])
    absent = np.isnan(found.correlations[:, 1, 1])
    assert absent.any()
    assert (found.powers[absent, 1] == 0).all()
    assert math.isfinite(pairs(found)[0].cosine.mean)


def test_nothing_measured_is_nothing_known():
    found = gradient_series(("one", "two"), [])
    assert math.isnan(pairs(found)[0].cosine.mean)
    assert not pairs(found)[0].conflicts
    assert math.isnan(shares(found)["one"].mean)
    assert math.isnan(critical_batches(found)["one"].mean)


def test_some_of_the_tasks_keep_their_numbers():
    tasks = ("one", "two", "three")
    gradients = noisy(np.concatenate([MEANS, MEANS[:1]]), 1.0, 30, 5)
    found = series(gradients, tasks).of(["one", "three"])
    assert found.tasks == ("one", "three")
    assert found.correlations.shape[1:] == (2, 2)
    assert np.array_equal(
        found.correlations[:, 0, 1], series(gradients, tasks).correlations[:, 0, 2]
    )
