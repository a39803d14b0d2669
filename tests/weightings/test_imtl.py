import pytest
import torch

from lightning_mtl.callbacks import IMTL, IMTLG, IMTLL
from tests.support.jacobians import random_jacobian


def test_it_is_the_gradient_part_on_losses_scaled_by_the_loss_part() -> None:
    both, loss_part = IMTL(), IMTLL()
    for seed in range(20):
        rows = random_jacobian(3, 9, seed)
        losses = torch.rand(3, dtype=torch.float64) * torch.tensor([0.1, 1.0, 30.0])
        scale = loss_part.weights(losses)
        scaled = rows * scale[:, None]
        expected = IMTLG().weights(losses, scaled @ scaled.T) * scale
        found = both.weights(losses, rows @ rows.T)
        torch.testing.assert_close(found, expected)
        loss_part.update(losses)


@pytest.mark.peer("L25")
def test_scaled_losses_approach_one() -> None:
    """L25: s is optimised by the weighting itself, without the network's weight decay."""
    weighting = IMTL(lr=0.05)
    losses = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    gramian = torch.eye(3, dtype=torch.float64)
    for _ in range(600):
        weighting.weights(losses, gramian)
    scaled = weighting.memory.tensors["log_scale"].exp() * losses
    torch.testing.assert_close(scaled, torch.ones(3, dtype=torch.float64), atol=1e-2, rtol=0)


def test_the_regulariser_of_the_step_is_logged_apart() -> None:
    weighting = IMTL()
    for _ in range(3):
        expected = -weighting.memory.tensors.get("log_scale", torch.zeros(2)).sum()
        weighting.weights(torch.tensor([1.0, 5.0]), torch.eye(2))
        assert float(weighting.logs()["regulariser"]) == float(expected)
