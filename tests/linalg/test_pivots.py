import numpy as np
import pytest
import torch
from numpy import ndarray
from numpy.testing import assert_allclose

from lightning_mtl.linalg.cosines import cosines_and_norms
from lightning_mtl.linalg.host import arrays
from lightning_mtl.linalg.pivots import Ridged
from tests.support.jacobians import awkward_jacobians, random_jacobian

TOLERANCE = 1e-13


def problems(tasks: int) -> list[tuple[str, Ridged, ndarray]]:
    made = []
    for name, rows in awkward_jacobians(tasks):
        directions = random_jacobian(6, rows.shape[1], seed=tasks)
        made.append((name, ridged_of(rows), (directions @ rows.T).numpy()))
    return made


def ridged_of(rows: torch.Tensor, tolerance: float = TOLERANCE) -> Ridged:
    cosines, _ = cosines_of(rows)
    return Ridged(cosines, tolerance)


def cosines_of(rows: torch.Tensor) -> tuple[ndarray, ndarray]:
    """The cosines between the rows, and the right sides that project each onto the dual cone."""
    cosines, norms = arrays(*cosines_and_norms(rows @ rows.T))
    return cosines, -np.diag(norms) @ cosines


def size_of(t: ndarray, right: ndarray) -> ndarray:
    return np.maximum(np.abs(t).max(1), np.abs(right).max(1)).clip(min=1e-300)[:, None]


def assert_complementary(ridged: Ridged, right: ndarray, t: ndarray) -> None:
    slack = t @ ridged.matrix - right
    size = size_of(t, right)
    assert t.min() >= 0
    assert (slack / size).min() > -1e-12
    assert (np.minimum(t, slack) / size).max() < 1e-12


@pytest.mark.parametrize("tasks", [1, 2, 3, 7, 20, 40])
def test_block_pivots_end_where_one_of_t_and_slack_is_zero(tasks: int) -> None:
    for _, ridged, right in problems(tasks):
        assert_complementary(ridged, right, ridged.settle(right, right > 0).t)


@pytest.mark.parametrize("tasks", [1, 2, 3, 7, 20, 40])
def test_the_active_set_method_ends_there_too(tasks: int) -> None:
    for _, ridged, right in problems(tasks):
        assert_complementary(ridged, right, ridged._active_set(right).t)


def test_rows_that_block_pivots_leave_unsettled_are_solved_all_the_same(monkeypatch) -> None:
    monkeypatch.setattr("lightning_mtl.linalg.pivots.ROUNDS", 1)
    rows = random_jacobian(40, 46, seed=13, rank=20)
    cosines, right = cosines_of(rows)
    ridged = Ridged(cosines, TOLERANCE)
    assert_complementary(ridged, right, ridged.settle(right, right > 0).t)


def test_the_start_does_not_change_the_solution() -> None:
    _, ridged, right = problems(7)[0]
    nothing = np.zeros_like(right, dtype=bool)
    assert_allclose(ridged.settle(right, nothing).t, ridged.settle(right, ~nothing).t, rtol=1e-7)


def test_what_the_ridge_has_changed_is_taken_back() -> None:
    rows = random_jacobian(6, 9)
    ridged = ridged_of(rows, tolerance=1e-3)
    passive = np.array([[True, True, False, True, False, True]])
    right = np.ones((1, 6))
    t = ridged.refine(ridged.solve(right, passive), passive)
    inside = passive[0]
    cosines, _ = cosines_of(rows)
    exact = np.linalg.solve(cosines[inside][:, inside], right[0, inside])
    assert_allclose(t[0, inside], exact, rtol=1e-6)
    assert (t[0, ~inside] == 0).all()


def test_equal_rows_share_alike() -> None:
    ridged, right = Ridged(np.ones((3, 3)), TOLERANCE), np.ones((1, 3))
    t, passive = ridged.settle(right, right > 0)
    assert_allclose(ridged.refine(t, passive), right / 3, rtol=1e-7)


def test_rows_that_are_dependent_but_for_their_rounding_end_with_right_signs() -> None:
    """Refining what the ridge has left would turn some: the noise is about as large as it."""
    turned = 0
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(6, 20, generator=generator, dtype=torch.float64)
        cosines, right = cosines_of(random_jacobian(6, 20, seed, rank=1) + 1e-5 * noise)
        ridged = Ridged(cosines, TOLERANCE)
        settled = ridged.settle(right, right > 0)
        turned += int((ridged.refine(*settled) < 0).any())
        t = ridged.finish(right, settled)
        assert t.min() >= 0
        assert ((t @ cosines - right) / size_of(t, right)).min() > -2 * ridged.ridge
    assert turned
