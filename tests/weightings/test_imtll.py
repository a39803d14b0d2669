import pytest
import torch

from lightning_mtl.callbacks import IMTLL


@pytest.mark.peer("L25")
def test_scales_move_as_by_automatic_differentiation() -> None:
    """L25: by an Adam of their own, without the network's weight decay."""
    weighting = IMTLL(lr=0.05)
    scale = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([scale], lr=0.05)
    for step in range(30):
        losses = torch.rand(3, dtype=torch.float64) * torch.tensor([0.1, 1.0, 10.0]) + 0.01 * step
        torch.testing.assert_close(weighting.weights(losses), scale.detach().exp())
        optimizer.zero_grad()
        (scale.exp() * losses - scale).sum().backward()
        optimizer.step()
        weighting.update(losses)


def test_scaled_losses_approach_one() -> None:
    weighting = IMTLL(lr=0.05)
    losses = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    for _ in range(600):
        weighting.update(losses)
    scaled = weighting.weights(losses) * losses
    torch.testing.assert_close(scaled, torch.ones(3, dtype=torch.float64), atol=1e-2, rtol=0)


def test_the_regulariser_of_the_step_is_logged_apart() -> None:
    weighting = IMTLL()
    losses = torch.tensor([1.0, 5.0])
    for _ in range(3):
        expected = -weighting.weights(losses).log().sum()
        weighting.update(losses)
        torch.testing.assert_close(weighting.logs()["regulariser"], expected)
