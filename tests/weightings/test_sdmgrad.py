import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import SDMGrad
from lightning_mtl.linalg import simplex_min_norm
from lightning_mtl.weightings.bases.cross_gramian_weighting import CrossGramianWeighting
from tests.support.jacobians import SCALES, random_jacobian


def projected(point: Tensor) -> Tensor:
    """Onto the simplex, by bisection."""
    low, high = point.min() - 1, point.max()
    for _ in range(200):
        middle = (low + high) / 2
        high, low = (high, middle) if (point - middle).clamp(min=0).sum() > 1 else (middle, low)
    return (point - low).clamp(min=0)


def literal(matrix: Tensor, w: Tensor, steps: int = 20) -> tuple[Tensor, Tensor]:
    """The authors' inner loop."""
    tasks = len(matrix)
    preferred = torch.full_like(w, 1 / tasks)
    matrix = matrix / matrix.diagonal().clamp(min=0).sqrt().mean() ** 2
    velocity = torch.zeros_like(w)
    for _ in range(steps):
        velocity = 0.5 * velocity + matrix @ (w + 0.3 * preferred)
        w = projected(w - 10 * velocity)
    return w, (w + 0.3 * preferred) / 1.3


@pytest.mark.parametrize("tasks", [1, 2, 3, 6])
def test_the_weights_are_those_of_the_authors_loop_over_many_steps(tasks: int) -> None:
    for scale in SCALES:
        weighting = SDMGrad()
        w = torch.full((tasks,), 1 / tasks, dtype=torch.float64)
        for seed in range(5):
            first = random_jacobian(tasks, 9, seed)
            # Of two independent batches: not symmetric, not positive.
            cross = first @ (first + random_jacobian(tasks, 9, seed + 50)).T * scale**2
            w, expected = literal(cross, w)
            found = weighting.weights(torch.ones(tasks), cross)
            torch.testing.assert_close(found, expected)


def test_without_preference_the_weights_approach_the_shortest_vector() -> None:
    rows = random_jacobian(3, 9, seed=1)
    gramian = rows @ rows.T
    found = SDMGrad(lambda_=0.0, lr=0.05, steps=3000).weights(torch.ones(3), gramian)
    torch.testing.assert_close(found, simplex_min_norm(gramian), atol=1e-6, rtol=0)


@pytest.mark.peer("L15")
def test_it_asks_for_independent_parts() -> None:
    """L15: the parts of the batch are there already; no extra batches are drawn."""
    assert issubclass(SDMGrad, CrossGramianWeighting)


@pytest.mark.parametrize("wrong", [{"lambda_": -1.0}, {"lr": 0.0}, {"momentum": 1.0}, {"steps": 0}])
def test_wrong_arguments_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"`SDMGrad` should have.*Found.*Use"):
        SDMGrad(**wrong)


def test_weights_sum_to_one_where_independent_parts_have_little_in_common() -> None:
    """Their products may be next to nothing on the diagonal, or negative."""
    for diagonal in (1e-30, 0.0, -1.0):
        matrix = torch.tensor([[diagonal, 3.0, -1.0], [3.0, diagonal, 2.0], [-1.0, 2.0, diagonal]])
        weights = SDMGrad().weights(torch.ones(3), matrix.double())
        torch.testing.assert_close(weights.sum(), torch.ones((), dtype=torch.float64))
        assert weights.min() >= 0
