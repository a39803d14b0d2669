import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import PCGrad
from tests.support.jacobians import SCALES, random_jacobian


def literal(rows: Tensor, orders: list[list[int]]) -> Tensor:
    """Algorithm 1 of the paper, on the gradients themselves."""
    total = torch.zeros_like(rows[0])
    for i, order in enumerate(orders):
        projected = rows[i].clone()
        for j in order:
            if j != i and projected @ rows[j] < 0:
                projected -= (projected @ rows[j]) / (rows[j] @ rows[j]) * rows[j]
        total += projected
    return total


@pytest.mark.peer("L4")
@pytest.mark.parametrize("tasks", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("size", ["wide", "flat"])
def test_the_weights_are_those_of_the_paper_without_projecting_a_task_on_itself(
    tasks: int, size: str
) -> None:
    """LibMTL and nash-mtl also visit j = i, which matters where many gradients share a plane."""
    for seed in range(20):
        for scale in SCALES:
            rows = random_jacobian(tasks, tasks + 1 if size == "wide" else 2, seed) * scale
            generator = torch.Generator().manual_seed(seed)
            orders = torch.rand(tasks, tasks, generator=generator).argsort(1).tolist()
            weights = PCGrad(seed=seed).weights(torch.ones(tasks), rows @ rows.T)
            expected = literal(rows, orders)
            assert (weights @ rows - expected).norm() < 1e-10 * rows.norm()


def test_orders_change_from_step_to_step_and_with_the_seed() -> None:
    rows = random_jacobian(8, 9, seed=1)
    gramian = rows @ rows.T
    weighting = PCGrad()
    first, second = (weighting.weights(torch.ones(8), gramian) for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first, PCGrad(seed=1).weights(torch.ones(8), gramian))


def test_two_tasks_give_the_golden_weights() -> None:
    rows = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
    weights = PCGrad().weights(torch.ones(2), rows @ rows.T)
    torch.testing.assert_close(weights, torch.tensor([1 + 22 / 18, 1 + 22 / 38]))
