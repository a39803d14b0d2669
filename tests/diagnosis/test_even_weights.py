"""Weights that even out gradients: by closed form, by a grid, and under changes of scale."""

from itertools import product

import numpy as np
import pytest

from lightning_mtl.diagnosis.even_weights import averaged_gramian, condition_number, even_weights
from lightning_mtl.diagnosis.gradients import gradient_series
from tests.diagnosis.series import measurements, noisy


def gramian(tasks: int, seed: int, spread: float = 1.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((tasks, tasks + 2))
    rows *= np.exp(spread * generator.standard_normal((tasks, 1)))
    return rows @ rows.T


@pytest.mark.parametrize("seed", range(5))
def test_two_tasks_get_the_inverse_of_their_norms(seed):
    given = gramian(2, seed)
    inverse = given.diagonal() ** -0.5
    assert even_weights(given) == pytest.approx(2 * inverse / inverse.sum())


@pytest.mark.parametrize("seed", range(8))
def test_three_tasks_do_as_well_as_the_best_of_a_grid(seed):
    given = gramian(3, seed)
    start = given.diagonal() ** -0.5
    logs = np.linspace(-1.5, 1.5, 41)
    grid = min(
        condition_number(given, start * np.exp([0.0, one, other]))
        for one, other in product(logs, logs)
    )
    found = condition_number(given, even_weights(given, most=1e6))
    assert found <= 1.01 * grid
    assert found <= condition_number(given, start)


@pytest.mark.parametrize("tasks", [2, 3, 5, 12])
def test_the_weight_of_a_scaled_loss_is_divided_by_the_scale(tasks):
    given, scale = gramian(tasks, 3, spread=0.2), np.linspace(0.5, 2, tasks)
    weights = even_weights(given)
    scaled = even_weights(given * np.outer(scale, scale)) * scale
    assert scaled / scaled.sum() == pytest.approx(weights / weights.sum(), rel=2e-2)


@pytest.mark.parametrize("tasks", [3, 6])
def test_weights_follow_a_permutation_of_the_tasks(tasks):
    given = gramian(tasks, 4)
    order = np.random.default_rng(0).permutation(tasks)
    permuted = even_weights(given[order][:, order])
    assert permuted == pytest.approx(even_weights(given)[order], rel=2e-2)


@pytest.mark.parametrize("tasks", [1, 2, 3, 8])
def test_weights_are_positive_with_the_number_of_tasks_as_their_sum(tasks):
    weights = even_weights(gramian(tasks, 5))
    assert (weights > 0).all()
    assert weights.sum() == pytest.approx(tasks)


def test_orthogonal_gradients_become_equally_long():
    given = np.diag([1.0, 4.0, 9.0])
    weights = even_weights(given)
    assert np.sqrt(given.diagonal()) * weights == pytest.approx([18 / 11, 18 / 11, 18 / 11])
    assert condition_number(given, weights) == pytest.approx(1)


@pytest.mark.parametrize("tasks", [2, 3])
def test_the_ratio_of_weights_is_bounded(tasks):
    weights = even_weights(np.diag([1.0, 1e12, 1e6][:tasks]), most=100)
    assert weights.max() / weights.min() == pytest.approx(100)


def test_opposite_gradients_and_estimates_that_are_not_semi_definite_have_an_answer():
    opposite = np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    impossible = np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]])
    for given in (opposite, impossible):
        assert np.isfinite(even_weights(given)).all()
        assert np.isfinite(condition_number(given))


@pytest.mark.parametrize(
    "given",
    [np.diag([1.0, 0.0]), np.array([[1.0, np.nan], [np.nan, 1.0]])],
    ids=["zero gradient", "unknown product"],
)
def test_a_gradient_without_length_is_refused(given):
    with pytest.raises(ValueError, match="positive diagonal"):
        even_weights(given)


def test_the_averaged_gramian_is_that_of_the_means_where_gradients_do_not_shrink():
    means = np.zeros((2, 30))
    means[0, :2], means[1, :2] = (3.0, 0.0), (1.0, 1.0)
    series = gradient_series(("one", "two"), measurements(noisy(means, 0.3, 400, 0)))
    assert averaged_gramian(series) == pytest.approx(means @ means.T, rel=0.05)


def test_the_averaged_gramian_is_about_the_whole_run_where_one_task_shrinks():
    means = np.zeros((2, 30))
    means[0, 0], means[1, 1] = 1.0, 1.0
    gradients = noisy(means, 0.1, 300, 0)
    gradients[:, 1] *= np.geomspace(1, 1e-4, 300)[:, None]
    found = averaged_gramian(gradient_series(("one", "two"), measurements(gradients)))
    # The geometric mean over the last nine tenths.
    assert np.sqrt(found[1, 1] / found[0, 0]) == pytest.approx(10**-2.2, rel=0.1)


def test_a_gradient_of_pure_noise_is_not_blown_up():
    means = np.zeros((2, 200))
    means[0, 0] = 10.0
    series = gradient_series(("one", "two"), measurements(noisy(means, 1.0, 100, 0)))
    weights = even_weights(averaged_gramian(series))
    assert weights.max() / weights.min() < 20
