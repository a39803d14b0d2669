import pytest
import torch

from lightning_mtl.callbacks import AlignedMTL
from tests.support.jacobians import random_jacobian, spread_jacobian


@pytest.mark.peer("L2")
@pytest.mark.parametrize("make", [random_jacobian, spread_jacobian])
@pytest.mark.parametrize("tasks", [1, 2, 3, 10])
@pytest.mark.parametrize("scale", ["min", "median", "rmse"])
def test_the_direction_is_the_mean_of_the_aligned_rows(make, tasks: int, scale) -> None:
    """L2: it runs; and with singular values of J alone, not of its Gramian."""
    rows = make(tasks, tasks + 3, seed=tasks)
    left, singular, right = torch.linalg.svd(rows, full_matrices=False)
    squares = singular.square()
    level = {"min": squares.min(), "median": squares.median(), "rmse": squares.mean()}[scale]
    aligned = level.sqrt() * left @ right
    weights = AlignedMTL(scale=scale).weights(torch.ones(tasks), rows @ rows.T)
    expected = aligned.mean(0)
    assert (weights @ rows - expected).norm() < 1e-6 * expected.norm()


def test_orthogonal_gradients_shrink_to_the_shortest() -> None:
    rows = torch.diag(torch.tensor([1.0, 2.0, 4.0]))
    weights = AlignedMTL().weights(torch.ones(3), rows @ rows.T)
    torch.testing.assert_close(weights, torch.tensor([1.0, 0.5, 0.25]) / 3)


def test_without_gradients_the_weights_are_those_of_the_mean() -> None:
    assert AlignedMTL().weights(torch.ones(4), torch.zeros(4, 4)).tolist() == [0.25] * 4


def test_an_unknown_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="scale"):
        AlignedMTL(scale="max")
