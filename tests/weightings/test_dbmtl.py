import pytest
import torch

from lightning_mtl.callbacks import DBMTL
from tests.support.jacobians import random_jacobian


def test_the_direction_is_that_of_the_paper_over_many_steps() -> None:
    weighting = DBMTL(beta=0.9, beta_sigma=0.5)
    average = torch.zeros(3, 9).double()
    for step in range(1, 15):
        rows = random_jacobian(3, 9, step)
        losses = torch.rand(3, dtype=torch.float64) + 0.1
        rate = 0.0 if step == 1 else 0.9 / step**0.5
        average = rate * average + (1 - rate) * rows / losses[:, None]
        norms = average.norm(dim=1)
        expected = norms.max() * (average / norms[:, None]).sum(0)
        torch.testing.assert_close(weighting.combine(losses, rows), expected)


def test_without_averaging_the_scale_of_a_loss_does_not_matter() -> None:
    rows = random_jacobian(3, 9)
    losses = torch.rand(3, dtype=torch.float64) + 0.1
    scale = torch.tensor([1e-6, 1.0, 1e6]).double()
    plain = DBMTL(beta=0.0).combine(losses, rows)
    scaled = DBMTL(beta=0.0).combine(losses * scale, rows * scale[:, None])
    torch.testing.assert_close(scaled, plain, rtol=1e-4, atol=0)


def test_a_zero_gradient_counts_for_nothing() -> None:
    rows = random_jacobian(2, 5)
    rows[0] = 0
    torch.testing.assert_close(DBMTL().combine(torch.ones(2), rows), rows[1])


def test_an_average_that_decays_for_long_stays_right() -> None:
    """Its unit follows it down: a thousand steps without a gradient, and then one again."""
    weighting, rows = DBMTL(beta=0.5, beta_sigma=0.0), random_jacobian(2, 5)
    average = rows.clone()
    for step in range(1000):
        given = rows * torch.tensor([[1.0], [float(step in (0, 500))]]).double()
        found = weighting.combine(torch.ones(2).double(), given)
        average = given if step == 0 else (average + given) / 2
        norms = average.norm(dim=1)
        torch.testing.assert_close(found, norms.max() * (average / norms[:, None]).sum(0))


@pytest.mark.parametrize("wrong", [{"beta": 1.0}, {"beta_sigma": -1.0}])
def test_wrong_arguments_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"`DBMTL` should have.*Found.*Use"):
        DBMTL(**wrong)
