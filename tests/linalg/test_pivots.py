import pytest
import torch

from lightning_mtl.linalg.cosines import cosines_and_norms
from lightning_mtl.linalg.pivots import Ridged
from tests.support.jacobians import awkward_jacobians, random_jacobian

TOLERANCE = 1e-13


def problems(tasks: int) -> list[tuple[str, Ridged, torch.Tensor]]:
    made = []
    for name, rows in awkward_jacobians(tasks):
        cosines, _ = cosines_and_norms(rows @ rows.T)
        directions = random_jacobian(6, rows.shape[1], seed=tasks)
        made.append((name, Ridged(cosines, TOLERANCE), directions @ rows.T))
    return made


def assert_complementary(ridged: Ridged, right: torch.Tensor, t: torch.Tensor) -> None:
    slack = t @ ridged.matrix - right
    size = torch.maximum(t.abs().amax(1), right.abs().amax(1)).clamp(min=1e-300)[:, None]
    assert t.min() >= 0
    assert (slack / size).min() > -1e-12
    assert (torch.minimum(t, slack) / size).max() < 1e-12


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
    cosines, norms = cosines_and_norms(rows @ rows.T)
    ridged = Ridged(cosines, TOLERANCE)
    right = -torch.diag(norms) @ cosines
    assert_complementary(ridged, right, ridged.settle(right, right > 0).t)


def test_the_start_does_not_change_the_solution() -> None:
    _, ridged, right = problems(7)[0]
    nothing = torch.zeros_like(right, dtype=torch.bool)
    torch.testing.assert_close(ridged.settle(right, nothing).t, ridged.settle(right, ~nothing).t)


def test_what_the_ridge_has_changed_is_taken_back() -> None:
    rows = random_jacobian(6, 9)
    cosines, _ = cosines_and_norms(rows @ rows.T)
    ridged = Ridged(cosines, 1e-3)
    passive = torch.tensor([[True, True, False, True, False, True]])
    right = torch.ones(1, 6, dtype=torch.float64)
    t = ridged.refine(ridged.solve(right, passive), passive)
    inside = passive[0]
    exact = torch.linalg.solve(cosines[inside][:, inside], right[0, inside])
    torch.testing.assert_close(t[0, inside], exact, rtol=1e-6, atol=0)
    assert (t[0, ~inside] == 0).all()


def test_equal_rows_share_alike() -> None:
    ridged = Ridged(torch.ones(3, 3, dtype=torch.float64), TOLERANCE)
    right = torch.ones(1, 3, dtype=torch.float64)
    t, passive = ridged.settle(right, right > 0)
    torch.testing.assert_close(ridged.refine(t, passive), right / 3)


def test_rows_that_are_dependent_but_for_their_rounding_end_with_right_signs() -> None:
    """Refining what the ridge has left would turn some: the noise is about as large as it."""
    turned = 0
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(6, 20, generator=generator, dtype=torch.float64)
        rows = random_jacobian(6, 20, seed, rank=1) + 1e-5 * noise
        cosines, norms = cosines_and_norms(rows @ rows.T)
        ridged, right = Ridged(cosines, TOLERANCE), -torch.diag(norms) @ cosines
        settled = ridged.settle(right, right > 0)
        turned += int((ridged.refine(*settled) < 0).any())
        t = ridged.finish(right, settled)
        size = torch.maximum(t.abs().amax(1), right.abs().amax(1))[:, None]
        assert t.min() >= 0
        assert ((t @ cosines - right) / size).min() > -2 * ridged.ridge
    assert turned
