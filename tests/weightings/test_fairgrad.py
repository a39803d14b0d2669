import pytest
import torch

from lightning_mtl.callbacks import FairGrad
from tests.support.jacobians import SCALES, random_jacobian, spread_jacobian


@pytest.mark.peer("T6")
@pytest.mark.parametrize("make", [random_jacobian, spread_jacobian])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("tasks", [1, 2, 3, 10, 40])
def test_progress_is_divided_as_alpha_says(make, alpha: float, tasks: int) -> None:
    """T6: at gradient scales where a least-squares solver from a fixed start does not converge."""
    for scale in SCALES:
        rows = make(tasks, 2 * tasks + 5, seed=tasks) * scale
        weights = FairGrad(alpha=alpha).weights(torch.ones(tasks), rows @ rows.T)
        progress = rows @ (weights @ rows)
        torch.testing.assert_close(progress, weights ** (-1 / alpha), rtol=1e-6, atol=0)


def test_large_alpha_evens_out_the_progress() -> None:
    rows = random_jacobian(4, 9, seed=2)
    ratios = []
    for alpha in (0.5, 1.0, 2.0, 10.0):
        progress = rows @ (FairGrad(alpha=alpha).weights(torch.ones(4), rows @ rows.T) @ rows)
        ratios.append(float(progress.max() / progress.min()))
    assert ratios == sorted(ratios, reverse=True)


@pytest.mark.peer("L24")
def test_heads_are_weighted_only_where_asked_for() -> None:
    """L24: LibMTL weights the heads, the authors' code does not."""
    assert not FairGrad().weight_heads
    assert FairGrad(weight_heads=True).weight_heads


def test_alpha_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"should be positive. Found.*Use"):
        FairGrad(alpha=0.0)


def test_steps_without_a_solution_are_counted() -> None:
    """Peers L1: no fallback without a word."""
    weighting, losses = FairGrad(), torch.ones(2)
    apart, opposed = torch.eye(2).double(), torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double()
    for gramian in (apart, opposed, apart, opposed):
        weighting.weights(losses, gramian)
    assert weighting.logs()["lifted_steps"] == 2
