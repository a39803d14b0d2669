"""Somebody else's `training_step` is balanced by one line, or by three that name its losses."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torchmetrics import MeanSquaredError

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


class ReturnsTheSum(Theirs):
    """Its losses are the outputs of metrics, which are logged at the end of the epoch."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.errors = nn.ModuleDict({task: MeanSquaredError() for task in TASKS})

    def training_step(self, batch: Sequence[Tensor]) -> Tensor:
        x, *targets = batch
        features = self.trunk(x)
        total = torch.zeros(())
        for task, target in zip(TASKS, targets, strict=True):
            total = total + self.errors[task](self.heads[task](features), target)
            self.log(f"their/{task}", self.errors[task], on_epoch=True, on_step=False)
        return total


class Named(TrainingStepLosses, ReturnsTheSum):
    def loss_modules(self) -> dict[str, nn.Module]:
        return self.errors


class NamedLast(ReturnsTheSum, TrainingStepLosses):
    def loss_modules(self) -> dict[str, nn.Module]:
        return dict(self.errors)


@pytest.mark.parametrize("mine", [Named, NamedLast])
def test_losses_of_submodules_train_and_log_as_theirs(mine: Any) -> None:
    plain, module = ReturnsTheSum(5), mine(5)
    expected = trained(plain).callback_metrics
    logged = trained(module, EqualWeighting()).callback_metrics
    torch.testing.assert_close(parameters(module), parameters(plain))
    # Accumulated over the epoch by the metrics: each batch counts once.
    assert {f"their/{task}" for task in TASKS} == set(expected)
    torch.testing.assert_close({name: logged[name] for name in expected}, dict(expected))
    assert not any(metric._forward_hooks for metric in module.errors.values())


@pytest.mark.parametrize("weighting", [GradNorm, MGDA])
def test_losses_of_submodules_are_balanced(weighting: Any) -> None:
    module, plain = Named(5), ReturnsTheSum(5)
    trained(module, weighting())
    trained(plain)
    assert set(module.task_weights) == set(TASKS)
    assert not torch.allclose(parameters(module), parameters(plain))


class OneCriterion(Theirs):
    """One criterion computes all losses, and the step sums them in place."""

    def __init__(self, width: int, present: Sequence[str] = TASKS) -> None:
        super().__init__(width)
        self.criterion, self.unused = nn.MSELoss(), nn.L1Loss()
        self.present = present

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> dict[str, Any]:
        x, *targets = batch
        features = self.trunk(x)
        losses = [
            self.criterion(self.heads[task](features), target)
            for task, target in zip(TASKS, targets, strict=True)
            if task in self.present
        ]
        total = losses[0]
        for loss in losses[1:]:
            total += loss
        return {"loss": total}


class OneForAll(TrainingStepLosses, OneCriterion):
    def loss_modules(self) -> dict[str, nn.Module]:
        return dict.fromkeys(TASKS, self.criterion) | {"idle": self.unused}


def test_one_submodule_computes_several_losses_in_their_order() -> None:
    plain, module = OneCriterion(5), OneForAll(5)
    trained(plain)
    logged = trained(module).callback_metrics
    torch.testing.assert_close(parameters(module), parameters(plain))
    batch = list(toy_loader())[5]
    fresh = OneForAll(5)
    quiet_trainer(max_steps=5).fit(fresh, toy_loader())
    for task, loss in fresh.losses(batch).items():
        torch.testing.assert_close(logged[f"train/loss/{task}"], loss.detach())


def test_a_task_whose_submodule_is_not_called_is_absent() -> None:
    module = OneForAll(5)
    assert "train/loss/idle" not in trained(module).callback_metrics


class CallsNone(TrainingStepLosses, Theirs):
    """Its step computes the losses by functions."""

    def __init__(self) -> None:
        super().__init__(5)
        self.criterion = nn.MSELoss()

    def loss_modules(self) -> dict[str, nn.Module]:
        return {"one": self.criterion}


@pytest.mark.parametrize(
    ("build", "found"),
    [
        (lambda: OneForAll(5, present=TASKS[:2]), r"2 calls for \['one', 'two', 'three'\]"),
        (CallsNone, r"0 calls for \['one'\]"),
    ],
    ids=["fewer", "none"],
)
def test_submodules_that_are_called_less_often_are_refused_with_the_way_out(
    build: Any, found: str
) -> None:
    with pytest.raises(ValueError, match=rf"once for each of its tasks .* Found {found}.*`task_l"):
        trained(build())
