"""Somebody else's `training_step` that returns its losses is balanced by one line."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from lightning_mtl import TrainingStepLosses
from lightning_mtl.callbacks import MGDA, EqualWeighting, GradNorm
from tests.engine.test_engine import Theirs
from tests.support.toy import TASKS, parameters, quiet_trainer, toy_loader


class ReturnsLosses(Theirs):
    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> dict[str, Any]:
        losses = self.losses(batch)
        self.log("their/batch", float(batch_idx))
        return {"loss": sum(losses.values()), "losses": losses}


class First(TrainingStepLosses, ReturnsLosses):
    pass


class Last(ReturnsLosses, TrainingStepLosses):
    pass


def trained(module: L.LightningModule, *callbacks: L.Callback) -> L.Trainer:
    trainer = quiet_trainer(callbacks=list(callbacks), max_steps=6)
    trainer.fit(module, toy_loader())
    return trainer


@pytest.mark.parametrize("mine", [First, Last])
@pytest.mark.parametrize("weighting", [None, EqualWeighting], ids=["none", "equal"])
def test_with_equal_weights_it_trains_as_theirs(mine: Any, weighting: Any) -> None:
    plain, module = ReturnsLosses(5), mine(5)
    trained(plain)
    trainer = trained(module, *([weighting()] if weighting else []))
    torch.testing.assert_close(parameters(module), parameters(plain))
    assert float(trainer.callback_metrics["their/batch"]) == 5


@pytest.mark.parametrize("mine", [First, Last])
@pytest.mark.parametrize("weighting", [GradNorm, MGDA])
def test_its_losses_are_balanced(mine: Any, weighting: Any) -> None:
    module = mine(5)
    trained(module, weighting())
    assert set(module.task_weights) == set(TASKS)
    plain = ReturnsLosses(5)
    trained(plain)
    assert not torch.allclose(parameters(module), parameters(plain))


def test_a_step_without_losses_is_refused_with_the_ways_out() -> None:
    class Mine(TrainingStepLosses, Theirs):
        pass

    with pytest.raises(TypeError, match=r"`Mine` should return .*Found Tensor.*`task_losses`"):
        trained(Mine(5))
