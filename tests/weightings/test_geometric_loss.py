import pytest
import torch

from lightning_mtl.callbacks import GeometricLoss


@pytest.mark.peer("L10")
@pytest.mark.parametrize("tasks", [1, 2, 7, 40])
def test_the_weights_are_the_derivative_of_the_geometric_mean(tasks: int) -> None:
    """L10: LibMTL logs weights that are not those it applies."""
    for scale in (1e-6, 1.0, 1e6):
        losses = (torch.rand(tasks, dtype=torch.float64) + 0.01) * scale
        losses.requires_grad_()
        mean = losses.prod() ** (1 / tasks) if scale == 1 else losses.log().mean().exp()
        (expected,) = torch.autograd.grad(mean, losses)
        torch.testing.assert_close(GeometricLoss().weights(losses.detach()), expected)


def test_the_weighted_loss_is_the_geometric_mean() -> None:
    losses = torch.tensor([0.5, 4.0])
    torch.testing.assert_close(GeometricLoss().weights(losses) @ losses, torch.tensor(2.0).sqrt())


def test_a_loss_of_zero_gives_finite_weights() -> None:
    weights = GeometricLoss().weights(torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert torch.isfinite(weights).all()
