import pytest
import torch
from scipy.optimize import nnls

from lightning_mtl.callbacks import DualProj
from tests.support.jacobians import SCALES, random_jacobian


@pytest.mark.peer("T1")
@pytest.mark.parametrize("tasks", [1, 2, 3, 6])
def test_the_direction_is_the_projected_mean(tasks: int) -> None:
    """T1: at every scale."""
    for seed in range(5):
        rows = random_jacobian(tasks, 9, seed)
        share, _ = nnls(rows.T.numpy(), -rows.mean(0).numpy())
        expected = rows.mean(0) + torch.from_numpy(share) @ rows
        for scale in SCALES:
            scaled = rows * scale
            weights = DualProj().weights(torch.ones(tasks), scaled @ scaled.T)
            assert (weights @ rows - expected).norm() < 1e-9 * rows.norm()


def test_two_tasks_give_the_golden_weights() -> None:
    rows = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]], dtype=torch.float64)
    weights = DualProj().weights(torch.ones(2), rows @ rows.T)
    # The mean (1, 1, 1) loses its component along the first row.
    torch.testing.assert_close(weights, torch.tensor([0.5 + 2 / 18, 0.5]).double())
