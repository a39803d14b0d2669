import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import STCH
from tests.support.presence import set_present


def objective(losses: Tensor, nadir: Tensor, mu: float) -> Tensor:
    """Of the authors' code."""
    return len(losses) * mu * torch.logsumexp((losses / nadir).log() / mu, 0)


@pytest.mark.peer("L11")
@pytest.mark.parametrize("mu", [0.1, 1.0, 10.0])
def test_the_weights_are_the_derivative_of_the_objective(mu: float) -> None:
    """L11: the weights that are logged are those that are applied."""
    weighting = STCH(mu=mu, warmup_epochs=2)
    seen = torch.rand(2, 5, 3, dtype=torch.float64) + 0.1
    for epoch in seen:
        for losses in epoch:
            torch.testing.assert_close(weighting.weights(losses), 1 / losses)
            weighting.update(losses)
        weighting.end_epoch()
    losses = torch.rand(3, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(objective(losses, seen[1].mean(0), mu), losses)
    torch.testing.assert_close(weighting.weights(losses.detach()), expected)


@pytest.mark.peer("L12")
def test_the_nadir_survives_a_resume_after_the_warm_up() -> None:
    """L12: LibMTL divides zero by zero there."""
    whole, resumed = STCH(warmup_epochs=1), STCH(warmup_epochs=1)
    whole.update(torch.tensor([1.0, 4.0]))
    whole.end_epoch()
    resumed.load_state_dict(whole.state_dict())
    losses = torch.tensor([0.7, 2.0])
    assert torch.equal(resumed.weights(losses), whole.weights(losses))
    assert not torch.equal(resumed.weights(losses), STCH(warmup_epochs=0).weights(losses))


def test_a_small_mu_takes_the_worst_task_only() -> None:
    """That of 1.9 is left with (1.9 / 2)^(1 / μ), 4e-5."""
    weights = STCH(mu=0.005, warmup_epochs=0).weights(torch.tensor([1.0, 2.0, 1.9]))
    torch.testing.assert_close(weights, torch.tensor([0, 3 / 2, 0]), atol=1e-3, rtol=0)


def test_a_task_that_the_warm_up_has_not_seen_has_a_nadir_of_one() -> None:
    weighting = STCH(warmup_epochs=1)
    weighting.tasks = ("a", "b")
    set_present(weighting, [0])
    weighting.update(torch.tensor([2.0]))
    weighting.end_epoch()
    set_present(weighting, [0, 1])
    losses = torch.tensor([3.0, 5.0])
    share = torch.tensor([1.5, 5.0]) / 6.5
    torch.testing.assert_close(weighting.weights(losses), 2 * share / losses)


@pytest.mark.parametrize("wrong", [{"mu": 0.0}, {"warmup_epochs": -1}])
def test_wrong_arguments_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"`STCH` should have.*Found.*Use"):
        STCH(**wrong)
