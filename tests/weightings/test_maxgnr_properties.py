"""What MaxGNR promises on awkward gradients, as the other Gramian rules do."""

import itertools

import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import MaxGNR
from lightning_mtl.linalg.noise_ratio import Objective
from tests.support.jacobians import all_awkward_jacobians, random_jacobian
from tests.support.presence import set_present

EVERY_OBJECTIVE = pytest.mark.parametrize("objective", ["product", "min"])


def step(rule: MaxGNR, rows: Tensor) -> Tensor:
    """One step, as the engine takes it."""
    ones = torch.ones(len(rows), dtype=torch.float64)
    rule.brought = rule.observe([[row] for row in rows], ones)
    return rule.weights(ones, rows @ rows.T)


@EVERY_OBJECTIVE
def test_weights_are_finite_whatever_the_gradients(objective: Objective) -> None:
    """Zero rows, duplicates, one task: and K in sum."""
    for kind, jacobian in all_awkward_jacobians(1, 2, 3):
        tasks = len(jacobian)
        for dtype, scale in itertools.product((torch.float64, torch.float32), (1e-12, 1.0, 1e12)):
            case = f"{kind}, times {scale} in {dtype}"
            rule = MaxGNR(warmup_steps=0, objective=objective)
            for factor in (1.0, 0.5):
                weights = step(rule, (factor * scale * jacobian).to(dtype))
                assert weights.shape == (tasks,) and weights.dtype == dtype, case
                assert float(weights.sum()) == pytest.approx(tasks, rel=1e-4), case


@EVERY_OBJECTIVE
def test_an_absent_task_equals_a_removed_one(objective: Objective) -> None:
    with_absent, without = (MaxGNR(warmup_steps=1, objective=objective) for _ in range(2))
    with_absent.tasks = ("a", "b", "c")
    for seed in range(5):
        set_present(with_absent, [0, 2])
        rows = random_jacobian(3, 9, seed)[[0, 2]]
        torch.testing.assert_close(step(with_absent, rows), step(without, rows))
