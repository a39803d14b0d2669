import pytest
import torch

from lightning_mtl.callbacks import MoDo
from lightning_mtl.linalg import simplex_min_norm
from lightning_mtl.weightings.bases.cross_gramian_weighting import CrossGramianWeighting
from tests.support.jacobians import random_jacobian


def test_the_weights_take_one_projected_step() -> None:
    weighting = MoDo(gamma=0.01, rho=0.1)
    cross = torch.tensor([[1.0, 0.5], [-0.5, 4.0]], dtype=torch.float64)
    first = weighting.weights(torch.ones(2), cross)
    # λ = 1/2: gradient (0.75, 1.75) + 0.05; the projection removes the mean of the step.
    torch.testing.assert_close(first, torch.tensor([0.505, 0.495], dtype=torch.float64))
    second = weighting.weights(torch.ones(2), cross)
    gradient = cross @ first + 0.1 * first
    step = 0.01 * (gradient - gradient.mean())
    torch.testing.assert_close(second, first - step)


def test_the_weights_approach_the_shortest_vector() -> None:
    rows = random_jacobian(3, 9, seed=1)
    gramian = rows @ rows.T / rows.norm() ** 2
    weighting = MoDo(gamma=0.5, rho=0.0)
    for _ in range(2000):
        weights = weighting.weights(torch.ones(3), gramian)
    torch.testing.assert_close(weights, simplex_min_norm(gramian), atol=1e-8, rtol=0)


def test_it_asks_for_independent_parts() -> None:
    assert issubclass(MoDo, CrossGramianWeighting)


@pytest.mark.parametrize("wrong", [{"gamma": 0.0}, {"rho": -1.0}])
def test_wrong_arguments_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"`MoDo` should have.*Found.*Use"):
        MoDo(**wrong)
