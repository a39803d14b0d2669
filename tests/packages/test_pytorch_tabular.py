"""A table with two targets in PyTorch Tabular. Run with pytorch-tabular 1.2.0.

Its modules are those of `pytorch_lightning`, and so is its Trainer.
"""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_mtl import TrainingStepLosses
from lightning_mtl.callbacks import EqualWeighting
from tests.support.packages import check_balanced, each_rule, why
from tests.support.toy import Log, parameters

tabular = pytest.importorskip("pytorch_tabular", reason=why("pytorch-tabular"))
config = pytest.importorskip("pytorch_tabular.config", reason=why("pytorch-tabular"))
models = pytest.importorskip("pytorch_tabular.models", reason=why("pytorch-tabular"))
pandas = pytest.importorskip("pandas", reason=why("pytorch-tabular"))

TARGETS = ["price", "rent"]

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:pytorch_lightning.*")


# Of the two, the module of `pytorch_lightning` is named first. One module computes both losses.
class Mine(models.CategoryEmbeddingModel, TrainingStepLosses):
    def loss_modules(self):
        return dict.fromkeys(TARGETS, self.loss)


@pytest.fixture(autouse=True)
def _folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves files in the working directory."""
    monkeypatch.chdir(tmp_path)


def trained(kind: Any, *callbacks: L.Callback) -> tuple[Any, Tensor, Any]:
    frame = pandas.DataFrame(np.random.default_rng(0).normal(size=(48, 3)), columns=list("xyz"))
    frame["price"], frame["rent"] = frame.x + frame.y, 5 * np.sin(frame.z)
    table = tabular.TabularModel(
        data_config=config.DataConfig(
            target=TARGETS, continuous_cols=list("xyz"), pin_memory=False
        ),
        model_config=models.CategoryEmbeddingModelConfig(task="regression", layers="8-8"),
        optimizer_config=config.OptimizerConfig(),
        trainer_config=config.TrainerConfig(
            batch_size=16,
            max_epochs=2,
            accelerator="cpu",
            checkpoints=None,
            early_stopping=None,
            load_best=False,
            progress_bar="none",
            trainer_kwargs={"enable_model_summary": False},
        ),
        verbose=False,
        suppress_lightning_logger=True,
    )
    table.model_callable = kind
    rows = table.prepare_dataloader(train=frame[:32], validation=frame[32:], seed=0)
    torch.manual_seed(0)
    module = table.prepare_model(rows)
    start = parameters(module)
    torch.manual_seed(1)
    trainer = table.train(module, rows, callbacks=list(callbacks))
    return module, start, trainer.callback_metrics


def test_with_equal_weights_it_trains_as_theirs_and_logs_what_theirs_logs() -> None:
    plain, _, expected = trained(models.CategoryEmbeddingModel)
    module, _, logged = trained(Mine, EqualWeighting())
    torch.testing.assert_close(parameters(module), parameters(plain))
    torch.testing.assert_close({name: logged[name] for name in expected}, dict(expected))


@each_rule
def test_its_targets_are_balanced(rule: Any) -> None:
    log = Log()
    module, start, _ = trained(Mine, rule(), log)
    plain, _, _ = trained(models.CategoryEmbeddingModel)
    check_balanced(module, log, TARGETS, start, parameters(plain))
