"""Modules of `pytorch_lightning`, whose classes are others than those of `lightning`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import pytorch_lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from pytorch_lightning.callbacks import ModelCheckpoint as TheirCheckpoint
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import Tensor, nn

from lightning_mtl import MultiTaskModule
from lightning_mtl.callbacks import MGDA, AlternatingUpdates, EqualWeighting
from tests.support.toy import TASKS, parameters, toy_loader
from tests.support.weightings import EXAMPLES, ROUTES

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:pytorch_lightning.*")


class Network:
    """What the modules of both families have in common."""

    def build(self) -> None:
        torch.manual_seed(1)
        self.trunk = nn.Sequential(nn.Linear(6, 12), nn.Tanh())
        self.heads = nn.ModuleDict({task: nn.Linear(12, 2) for task in TASKS})
        self.stages: list[str] = []

    def setup(self, stage: str) -> None:
        self.stages.append(stage)

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        features = self.trunk(x)
        return {
            task: nn.functional.mse_loss(self.heads[task](features), target)
            for task, target in zip(TASKS, targets, strict=True)
        }

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


class Ours(Network, MultiTaskModule):
    def __init__(self) -> None:
        super().__init__()
        self.build()


class Theirs(Network, pytorch_lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.build()

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        return sum(self.task_losses(batch).values())

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        for task, loss in self.task_losses(batch).items():
            self.log(f"val/{task}", torch.exp(-loss))


class Mine(Theirs, MultiTaskModule):
    pass


def trained(module: Any, *callbacks: L.Callback, **settings: Any) -> Any:
    family = L if isinstance(module, Ours) else pytorch_lightning
    trainer = family.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=2,
        limit_train_batches=4,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **({"enable_checkpointing": False} | settings),
    )
    trainer.fit(module, toy_loader())
    return trainer


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`.*")
@pytest.mark.parametrize("name", [*dict.fromkeys(ROUTES.values()), "AlternatingUpdates"])
def test_its_trainer_trains_them_as_lightnings_does(name: str) -> None:
    build = {**EXAMPLES, "AlternatingUpdates": lambda: AlternatingUpdates(seed=0)}[name]
    ours, mine = Ours(), Mine()
    expected = trained(ours, build()).callback_metrics
    logged = trained(mine, build()).callback_metrics
    assert torch.equal(parameters(mine), parameters(ours))
    assert {f"train/loss/{task}" for task in TASKS} <= set(logged)
    torch.testing.assert_close(dict(logged), dict(expected))
    assert mine.stages == ["fit"]


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`.*")
def test_its_checkpoints_see_what_the_step_has_logged(tmp_path: Path) -> None:
    best = []
    for module, kind in ((Ours(), ModelCheckpoint), (Mine(), TheirCheckpoint)):
        saver = kind(tmp_path, monitor="train/total_loss", every_n_train_steps=1, save_top_k=1)
        trained(module, EqualWeighting(), saver, enable_checkpointing=True)
        best.append(float(saver.best_model_score))
    assert best[0] == best[1]


def test_another_order_of_the_bases_is_refused_where_it_is_written() -> None:
    with pytest.raises(TypeError, match=r"`Wrong` should name a module of `pytorch_lightning` be"):

        class Wrong(MultiTaskModule, Theirs):
            pass


@pytest.mark.parametrize("strategy", [FSDPStrategy, DeepSpeedStrategy, ModelParallelStrategy])
def test_its_strategies_that_shard_are_refused(strategy: Any) -> None:
    # Building some of them needs a GPU or another package; their kind is all that matters.
    with pytest.raises(ValueError, match=rf"{strategy.__name__}.*weighting of the losses"):
        MGDA()._check_strategy(strategy.__new__(strategy))
