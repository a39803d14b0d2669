import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import GradVac
from tests.support.jacobians import random_jacobian
from tests.support.presence import set_present


def literal(rows: Tensor, orders: list[list[int]], targets: Tensor, beta: float) -> Tensor:
    """Algorithm 1 of the paper, on the gradients themselves; moves the targets in place."""
    total = torch.zeros_like(rows[0])
    for i, order in enumerate(orders):
        changed = rows[i].clone()
        for j in order:
            if j == i:
                continue
            phi = changed @ rows[j] / changed.norm() / rows[j].norm()
            target = targets[i, j].clone()
            if phi < target:
                rise = target * (1 - phi**2).sqrt() - phi * (1 - target**2).sqrt()
                scale = changed.norm() * rise / (rows[j].norm() * (1 - target**2).sqrt())
                changed = changed + scale * rows[j]
            targets[i, j] = (1 - beta) * target + beta * phi
        total += changed
    return total


@pytest.mark.parametrize("tasks", [1, 2, 3, 6])
@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5])
def test_the_weights_are_those_of_the_paper_over_many_steps(tasks: int, beta: float) -> None:
    weighting = GradVac(beta=beta, seed=3)
    generator = torch.Generator().manual_seed(3)
    targets = torch.zeros(tasks, tasks, dtype=torch.float64)
    for seed in range(12):
        rows = random_jacobian(tasks, 8, seed)
        orders = torch.rand(tasks, tasks, generator=generator).argsort(1).tolist()
        weights = weighting.weights(torch.ones(tasks), rows @ rows.T)
        expected = literal(rows, orders, targets, beta)
        torch.testing.assert_close(weights @ rows, expected)


def test_two_tasks_reach_their_target_cosine() -> None:
    weighting = GradVac(beta=0.5)
    agreeing = torch.tensor([[1.0, 0.2], [1.0, -0.2]], dtype=torch.float64)
    weighting.weights(torch.ones(2), agreeing @ agreeing.T)
    target = weighting.memory.tensors["targets"][0, 1]
    rows = torch.eye(2, dtype=torch.float64)
    weights = weighting.weights(torch.ones(2), rows @ rows.T)
    # By symmetry each takes weights - 1 of the other.
    changed = rows[0] + (weights[1] - 1) * rows[1]
    torch.testing.assert_close(changed @ rows[1] / changed.norm(), target)


def test_targets_of_absent_tasks_stay() -> None:
    weighting = GradVac()
    weighting.tasks = ("a", "b", "c")
    rows = random_jacobian(3, 5)
    set_present(weighting, [0, 1, 2])
    weighting.weights(torch.ones(3), rows @ rows.T)
    before = weighting.memory.tensors["targets"].clone()
    set_present(weighting, [0, 1])
    weighting.weights(torch.ones(2), (rows @ rows.T)[:2, :2])
    after = weighting.memory.tensors["targets"]
    assert torch.equal(after[2], before[2]) and torch.equal(after[:, 2], before[:, 2])
    assert not torch.equal(after[0, 1], before[0, 1])


def test_beta_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"beta=.*should be in \[0, 1\]. Found.*Use 1"):
        GradVac(beta=1.5)
