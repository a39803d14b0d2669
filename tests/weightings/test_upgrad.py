import pytest
import torch
from scipy.optimize import nnls

from lightning_mtl.callbacks import UPGrad
from tests.support.jacobians import SCALES, random_jacobian


@pytest.mark.peer("T1")
@pytest.mark.parametrize("tasks", [1, 2, 3, 6])
def test_the_direction_is_the_mean_of_the_projected_gradients(tasks: int) -> None:
    """T1: at every scale; TorchJD's direction opposes a task as soon as gradients are small."""
    for seed in range(5):
        rows = random_jacobian(tasks, 9, seed)
        shares = [torch.from_numpy(nnls(rows.T.numpy(), -row.numpy())[0]) for row in rows]
        expected = rows.mean(0) + torch.stack(shares).mean(0) @ rows
        for scale in SCALES:
            scaled = rows * scale
            weights = UPGrad().weights(torch.ones(tasks), scaled @ scaled.T)
            assert (weights @ rows - expected).norm() < 1e-9 * rows.norm()


def test_two_tasks_give_the_golden_weights() -> None:
    rows = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]], dtype=torch.float64)
    weights = UPGrad().weights(torch.ones(2), rows @ rows.T)
    torch.testing.assert_close(weights, torch.tensor([1.1111, 0.7895]).double(), atol=1e-4, rtol=0)
