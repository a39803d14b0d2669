import pytest
import torch
from scipy.optimize import minimize

from lightning_mtl.linalg import max_min_in_ball
from tests.support.jacobians import SCALES, awkward_jacobians, random_jacobian


def setting(rows: torch.Tensor, c: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    center = torch.full((len(rows),), 1 / len(rows), dtype=torch.float64)
    radius = c * (center @ rows).norm()
    return center, radius, max_min_in_ball(rows @ rows.T, center, radius)


@pytest.mark.parametrize("tasks", [1, 2, 3, 5, 10, 20, 40])
@pytest.mark.parametrize("c", [0.0, 0.4, 0.9, 2.0])
def test_the_duality_gap_is_closed_for_every_rank_and_scale(tasks: int, c: float) -> None:
    for name, jacobian in awkward_jacobians(tasks):
        if (jacobian == 0).all(1).any() or float(jacobian.mean(0).norm()) < 1e-8:
            continue
        for scale in SCALES:
            rows = jacobian * scale
            center, radius, added = setting(rows, c)
            deviation = added @ rows
            progress = rows @ (center @ rows + deviation)
            assert added.min() >= 0, name
            assert deviation.norm() <= radius * (1 + 1e-7), name
            unit = rows.norm(dim=1).max() * (center @ rows).norm()
            if added.sum() > 0:
                w = added / added.sum()
                dual = w @ rows @ (center @ rows) + radius * (w @ rows).norm()
                gap = float((dual - progress.min()) / unit)
                # Inside the ball the tasks are Pareto-stationary, and no level above zero exists.
                inside = deviation.norm() < radius * (1 - 1e-7)
                stationary = inside and abs(float(progress.min() / unit)) < 1e-7
                assert gap < 1e-7 or stationary, name


@pytest.mark.parametrize("tasks", [2, 3, 10, 40])
@pytest.mark.parametrize("c", [0.1, 0.4, 2.0])
def test_the_bracketed_search_ends_where_the_quick_one_does(tasks, c: float, monkeypatch) -> None:
    quick = [setting(random_jacobian(tasks, 60, seed), c)[2] for seed in range(5)]
    monkeypatch.setattr("lightning_mtl.linalg.ball.QUICK", 0)
    sure = [setting(random_jacobian(tasks, 60, seed), c)[2] for seed in range(5)]
    torch.testing.assert_close(sure, quick, rtol=1e-8, atol=1e-10)


def test_the_optimum_is_that_of_a_general_solver() -> None:
    for seed in range(5):
        rows = random_jacobian(4, 9, seed)
        gramian = rows @ rows.T
        center, radius, added = setting(rows, 0.4)

        def objective(w, cost=gramian @ center, gramian=gramian, radius=radius):
            w = torch.from_numpy(w)
            return float(w @ cost + radius * (w @ gramian @ w).sqrt())

        found = minimize(
            objective,
            [0.25] * 4,
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        level = (rows @ ((center + added) @ rows)).min()
        assert abs(float(level) - found.fun) < 1e-6 * abs(found.fun)


def test_a_ball_that_all_but_reaches_zero_holds_for_opposed_rows() -> None:
    """The best level is then next to 0, and the rows that matter there depend on each other."""
    for seed in (*range(50), 1662, 2720, 3161, 3918):
        generator = torch.Generator().manual_seed(seed)
        left, right = (torch.randn(*shape, generator=generator) for shape in ((10, 1), (1, 3)))
        rows = (left @ right).double()
        for c in (1 - 1e-7, 1.0, 1 + 1e-7):
            center, radius, added = setting(rows, c)
            weights = center + added
            size = weights @ rows.norm(dim=1)
            level = (rows @ (weights @ rows) / rows.norm(dim=1)).min()
            assert (added @ rows).norm() <= radius * (1 + 1e-9), f"seed {seed}, c = {c}"
            assert level / size > -1e-6, f"seed {seed}, c = {c}"
