import pytest
import torch

from lightning_mtl.callbacks import MoCo
from lightning_mtl.linalg import project_to_simplex, simplex_min_norm
from tests.support.jacobians import random_jacobian
from tests.support.presence import set_present


def test_the_direction_is_that_of_the_paper_over_many_steps() -> None:
    weighting = MoCo(beta=0.5, beta_sigma=0.5, gamma=0.01, gamma_sigma=0.25, rho=0.1)
    average, weights = torch.zeros(3, 9).double(), torch.full((3,), 1 / 3, dtype=torch.float64)
    losses, identity = torch.ones(3).double(), torch.eye(3).double()
    for step in range(1, 15):
        rows = random_jacobian(3, 9, step)
        rate = 1.0 if step == 1 else 0.5 / step**0.5
        average = average - rate * (average - rows)
        gradient = (average @ average.T + 0.1 * identity) @ weights
        weights = project_to_simplex(weights - 0.01 / step**0.25 * gradient)
        found = weighting.combine(losses, rows)
        torch.testing.assert_close(found, weights @ average)


def test_with_exact_gradients_it_approaches_the_shortest_vector() -> None:
    rows = random_jacobian(3, 9, seed=1)
    rows = rows / rows.norm()
    weighting = MoCo(gamma=0.5, gamma_sigma=0.0)
    for _ in range(2000):
        direction = weighting.combine(torch.ones(3), rows)
    expected = simplex_min_norm(rows @ rows.T) @ rows
    torch.testing.assert_close(direction, expected, atol=1e-7, rtol=0)


def test_a_task_that_joins_later_starts_with_its_own_gradient() -> None:
    weighting = MoCo()
    weighting.tasks = ("a", "b")
    rows = random_jacobian(2, 5)
    set_present(weighting, [0])
    weighting.combine(torch.ones(1), rows[:1])
    set_present(weighting, [0, 1])
    weighting.combine(torch.ones(2), rows)
    torch.testing.assert_close(weighting.memory.tensors["average"], rows)


@pytest.mark.parametrize("wrong", [{"beta": 0.0}, {"gamma": 0.0}, {"rho": -1.0}])
def test_wrong_arguments_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"`MoCo` should have.*Found.*Use"):
        MoCo(**wrong)
