import pytest
import torch

from lightning_mtl.callbacks import NashMTL
from tests.support.jacobians import SCALES, random_jacobian, spread_jacobian


@pytest.mark.peer("T5")
@pytest.mark.parametrize("make", [random_jacobian, spread_jacobian])
@pytest.mark.parametrize("tasks", [1, 2, 3, 10, 40])
def test_every_task_gains_the_same(make, tasks: int) -> None:
    """T5: w_i (G w)_i = 1 over six decades of norms, where TorchJD misses it by up to 2600 %."""
    rows = make(tasks, 2 * tasks + 5, seed=tasks)
    weights = NashMTL(max_norm=None).weights(torch.ones(tasks), rows @ rows.T)
    gains = weights * (rows @ (weights @ rows))
    torch.testing.assert_close(gains, torch.ones_like(gains), atol=1e-9, rtol=0)


def test_the_update_is_clipped_whatever_the_scale() -> None:
    for scale in SCALES:
        rows = random_jacobian(3, 9) * scale
        for limit in (0.5, 1.0):
            weights = NashMTL(max_norm=limit).weights(torch.ones(3), rows @ rows.T)
            assert abs(float((weights @ rows).norm()) - limit) < 1e-9
        weights = NashMTL(max_norm=9.0).weights(torch.ones(3), rows @ rows.T)
        assert abs(float((weights @ rows).norm()) - 3**0.5) < 1e-9


@pytest.mark.peer("L1")
def test_two_tasks_give_the_golden_weights() -> None:
    """L1: where ECOS is missing, LibMTL's weights are (1, 1) for ever."""
    rows = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]], dtype=torch.float64)
    weights = NashMTL().weights(torch.ones(2), rows @ rows.T)
    # By hand for K = 2: α_i = c / ||g_i|| with one c, and the length clipped to 1.
    expected = 1 / rows.norm(dim=1)
    expected = expected / (expected @ rows).norm()
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(weights[0] / weights[1], torch.tensor(38 / 18).double().sqrt())


def test_a_limit_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match=r"should be positive or `None`. Found.*does not clip"):
        NashMTL(max_norm=0.0)


def test_steps_without_a_solution_are_counted() -> None:
    """Peers L1: no fallback without a word."""
    weighting, losses = NashMTL(), torch.ones(2)
    apart, opposed = torch.eye(2).double(), torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double()
    for gramian in (apart, opposed, apart, opposed):
        weighting.weights(losses, gramian)
    assert weighting.logs()["lifted_steps"] == 2
