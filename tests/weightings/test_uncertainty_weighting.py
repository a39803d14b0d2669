"""Uncertainty weighting: the closed form of its gradient, and the objective that it logs."""

import lightning as L
import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import UncertaintyWeighting
from tests.support.presence import set_present
from tests.support.toy import TASKS, Toy, quiet_trainer, toy_loader


def of_tasks(**arguments: object) -> UncertaintyWeighting:
    weighting = UncertaintyWeighting(**arguments)
    weighting.tasks = ("a", "b", "c")
    return weighting


def objective(log_variance: Tensor, losses: Tensor, scale: Tensor) -> Tensor:
    """Eq. 5 and 10 of Kendall et al., literally, with σ² = exp(s)."""
    variance = log_variance.exp()
    return (scale * losses / variance + variance.sqrt().log()).sum()


def test_its_steps_are_those_of_adam_on_the_objective():
    weighting = of_tasks(lr=0.1, classification=["b"])
    scale = torch.tensor([0.5, 1.0, 0.5])
    twin = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([twin], lr=0.1)
    for _ in range(40):
        losses = torch.rand(3) * 5
        torch.testing.assert_close(weighting.weights(losses), scale * torch.exp(-twin.detach()))
        weighting.update(losses)
        optimizer.zero_grad()
        objective(twin, losses, scale).backward()
        optimizer.step()


def test_at_rest_every_weighted_regression_loss_is_one_half():
    """∂/∂s = 0 where c exp(-s) L = 1/2, whatever the scale of the loss."""
    weighting = of_tasks(lr=0.02)
    losses = torch.tensor([0.01, 1.0, 20.0])
    for _ in range(1500):
        weighting.update(losses)
    torch.testing.assert_close(
        weighting.weights(losses) * losses, torch.full((3,), 0.5), rtol=0.02, atol=0
    )


class Objective(L.Callback):
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.rows.append({key: float(value) for key, value in trainer.callback_metrics.items()})


def test_the_logged_parts_add_up_to_the_objective_of_the_same_step():
    logged = Objective()
    # Lightning calls the module's hook first, which does the logging.
    quiet_trainer(callbacks=[UncertaintyWeighting(lr=0.3), logged], max_steps=8).fit(
        Toy(), toy_loader()
    )
    rows = logged.rows[1:]
    assert len(rows) >= 6
    for row in rows:
        weights = torch.tensor([row[f"train/weight/{task}"] for task in TASKS])
        losses = torch.tensor([row[f"train/loss/{task}"] for task in TASKS])
        expected = objective(-(2 * weights).log(), losses, torch.full((3,), 0.5))
        found = row["train/weighted_loss"] + row["train/regulariser"]
        assert found == pytest.approx(float(expected), abs=1e-5)


def test_the_networks_optimizer_neither_sees_nor_decays_the_variances():
    module = Toy()
    weighting = UncertaintyWeighting()
    quiet_trainer(callbacks=[weighting], max_steps=2).fit(module, toy_loader())
    counted = sum(p.numel() for group in module.optimizers().param_groups for p in group["params"])
    assert counted == sum(p.numel() for p in module.parameters())


def test_absent_tasks_keep_their_variance():
    weighting = of_tasks(lr=0.1)
    set_present(weighting, [0, 1, 2])
    weighting.update(torch.tensor([1.0, 5.0, 9.0]))
    before = weighting.memory.tensors["log_variance"].clone()
    set_present(weighting, [2])
    assert weighting.weights(torch.ones(1)).shape == (1,)
    weighting.update(torch.tensor([9.0]))
    after = weighting.memory.tensors["log_variance"]
    assert torch.equal(after[:2], before[:2])
    assert after[2] > before[2]
