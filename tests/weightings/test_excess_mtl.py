import pytest
import torch

from lightning_mtl.callbacks import ExcessMTL
from tests.support.jacobians import random_jacobian


@pytest.mark.parametrize("warmup", [1, 3])
def test_the_weights_are_those_of_the_paper_over_many_steps(warmup: int) -> None:
    weighting = ExcessMTL(eta=0.7, warmup_steps=warmup)
    squares = torch.zeros(3, 9).double()
    weights = torch.full((3,), 1 / 3, dtype=torch.float64)
    seen = []
    for step in range(1, 12):
        rows = random_jacobian(3, 9, step)
        squares += rows**2
        excess = torch.stack(
            [row @ torch.diag(1 / s.sqrt()) @ row for row, s in zip(rows, squares, strict=True)]
        )
        if step <= warmup:
            seen.append(excess)
        else:
            weights = weights * torch.exp(0.7 * excess / torch.stack(seen).mean(0))
            weights = weights / weights.sum()
        found = weighting.combine(torch.ones(3), rows)
        torch.testing.assert_close(found, weights @ rows)
        torch.testing.assert_close(weighting.applied, weights)


def test_a_task_that_has_converged_loses_weight() -> None:
    weighting = ExcessMTL()
    rows = random_jacobian(2, 9)
    for step in range(10):
        weighting.combine(torch.ones(2), rows * torch.tensor([[0.5**step], [1.0]]).double())
    assert weighting.applied[1] > 0.9


def test_zero_gradients_leave_the_weights_finite() -> None:
    weighting = ExcessMTL()
    rows = random_jacobian(2, 9)
    for factor in (0.0, 1.0, 0.0):
        direction = weighting.combine(torch.ones(2), rows * torch.tensor([[factor], [1.0]]))
    assert torch.isfinite(direction).all()


@pytest.mark.parametrize("wrong", [{"eta": 0.0}, {"warmup_steps": 0}])
def test_wrong_arguments_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"`ExcessMTL` should have.*Found.*use 1"):
        ExcessMTL(**wrong)
