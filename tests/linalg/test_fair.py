import pytest
import torch

from lightning_mtl.linalg import fair_weights
from tests.support.jacobians import SCALES, awkward_jacobians, random_jacobian, spread_jacobian


@pytest.mark.peer("T5", "T6")
@pytest.mark.parametrize("make", [random_jacobian, spread_jacobian])
@pytest.mark.parametrize("tasks", [1, 2, 3, 10, 20, 40])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 10.0])
def test_fair_weights_solve_their_equation(make, tasks: int, alpha: float) -> None:
    """T5, T6: for norms over six decades too, where TorchJD misses it by 100 % and more."""
    for scale in SCALES:
        rows = make(tasks, 2 * tasks + 5, seed=tasks) * scale
        weights = fair_weights(rows @ rows.T, alpha).weights
        assert weights.min() > 0
        ratio = (rows @ (weights @ rows)) * weights ** (1 / alpha)
        torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=1e-9, atol=0)


@pytest.mark.parametrize("make", [random_jacobian, spread_jacobian])
@pytest.mark.parametrize("tasks", [1, 2, 3, 10, 40])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 10.0])
def test_shares_of_the_tasks_solve_their_equation_too(make, tasks: int, alpha: float) -> None:
    shares = torch.linspace(0.5, 1.5, tasks, dtype=torch.float64)
    for scale in SCALES:
        rows = make(tasks, 2 * tasks + 5, seed=tasks) * scale
        weights = fair_weights(rows @ rows.T, alpha, shares).weights
        assert weights.min() > 0
        ratio = (rows @ (weights @ rows)) * (weights / shares) ** (1 / alpha)
        torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=1e-9, atol=0)


def test_a_zero_row_is_left_out_of_the_shares() -> None:
    rows, shares = random_jacobian(3, 9), torch.tensor([0.5, 2.0, 1.5]).double()
    rows[1] = 0
    kept = [0, 2]
    expected = fair_weights(rows[kept] @ rows[kept].T, 2.0, shares[kept]).weights
    found = fair_weights(rows @ rows.T, 2.0, shares).weights
    torch.testing.assert_close(found, torch.stack([expected[0], torch.ones(()), expected[1]]))


def test_orthogonal_rows_have_their_closed_form() -> None:
    norms = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
    for alpha in (0.5, 1.0, 3.0):
        expected = norms ** (-2 * alpha / (1 + alpha))
        torch.testing.assert_close(fair_weights(torch.diag(norms**2), alpha).weights, expected)


@pytest.mark.parametrize("tasks", [2, 3, 10, 40])
def test_no_row_is_opposed_even_where_no_solution_exists(tasks: int) -> None:
    for name, rows in awkward_jacobians(tasks):
        weights = fair_weights(rows @ rows.T).weights
        assert torch.isfinite(weights).all() and weights.min() > 0, name
        kept = rows.norm(dim=1) > 0
        direction = weights[kept] @ rows[kept]
        progress = rows[kept] @ direction / rows[kept].norm(dim=1)
        assert (progress > -2e-4).all(), name
