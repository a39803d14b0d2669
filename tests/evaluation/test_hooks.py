"""Validation and test of a `MultiTaskModule` that names its metrics and predictions."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError

from lightning_mtl import MultiTaskModule
from lightning_mtl.callbacks import MetricTable
from tests.support.toy import quiet_trainer

SIZE = 24


class Measured(MultiTaskModule):
    """Two tasks on a table, of which the second lacks labels where they are -1."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(3, 8)
        self.price, self.kind = nn.Linear(8, 1), nn.Linear(8, 3)

    def forward(self, x):
        features = self.trunk(x).relu()
        return self.price(features)[:, 0], self.kind(features)

    def task_losses(self, batch):
        x, price, kind = batch
        prices, kinds = self(x)
        losses = {"price": functional.mse_loss(prices, price)}
        if (kind >= 0).any():
            losses["kind"] = functional.cross_entropy(kinds, kind, ignore_index=-1)
        return losses

    def task_metrics(self):
        errors = MetricCollection({"MAE": MeanAbsoluteError(), "MSE": MeanSquaredError()})
        return {"price": errors, "kind": MulticlassAccuracy(3, average="micro")}

    def task_predictions(self, batch):
        x, price, kind = batch
        prices, kinds = self(x)
        known = kind >= 0
        found = {"price": (prices, price)}
        if known.any():
            found["kind"] = (kinds[known], kind[known])
        return found

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def table(batch_size: int = 8, labelled: bool = True) -> DataLoader:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(SIZE, 3, generator=generator)
    kind = (x[:, 1] > 0).long() + (x[:, 2] > 0).long()
    kind[:: 2 if labelled else 1] = -1
    return DataLoader(TensorDataset(x, x[:, 0], kind), batch_size=batch_size)


def expected(module: Measured, stage: str) -> dict[str, float]:
    """The metrics of all samples at once."""
    (batch,) = table(SIZE)
    with torch.no_grad():
        predictions = module.eval().task_predictions(batch)
    values = {}
    for task, metric in module.task_metrics().items():
        metric.update(*predictions[task])
        found = metric.compute()
        named = found if isinstance(found, dict) else {type(metric).__name__: found}
        values |= {f"{stage}/{task}/{name}": float(value) for name, value in named.items()}
    return values


@pytest.mark.parametrize("batch_size", [5, 8])
@pytest.mark.parametrize("stage", ["val", "test"])
def test_every_task_is_measured_over_all_samples(stage, batch_size):
    module, trainer = Measured(), quiet_trainer()
    run = trainer.validate if stage == "val" else trainer.test
    (logged,) = run(module, table(batch_size), verbose=False)
    assert logged == pytest.approx(expected(module, stage))


def test_each_validation_starts_anew_and_so_does_the_next_fit():
    module, trainer = Measured(), quiet_trainer(max_epochs=2)
    trainer.fit(module, table(), table())
    assert trainer.callback_metrics["val/kind/MulticlassAccuracy"] == pytest.approx(
        expected(module, "val")["val/kind/MulticlassAccuracy"]
    )
    trainer.validate(module, table(), verbose=False)
    module.train()
    again = quiet_trainer()
    again.fit(module, table(), table())
    assert again.callback_metrics["val/price/MAE"] == pytest.approx(
        expected(module, "val")["val/price/MAE"]
    )


def test_a_task_without_labels_in_the_whole_data_set_has_no_numbers():
    (logged,) = quiet_trainer().validate(Measured(), table(labelled=False), verbose=False)
    assert logged.keys() == {"val/price/MAE", "val/price/MSE"}


def test_delta_mtl_is_logged_and_models_are_selected_by_it(tmp_path):
    module = Measured()
    module.baselines = {"price": 1.0, "kind": 0.5}
    best = ModelCheckpoint(tmp_path, monitor="val/delta_mtl", mode="max")
    trainer = quiet_trainer(max_epochs=2, callbacks=[best], enable_checkpointing=True)
    trainer.fit(module, table(), table())
    now = expected(module, "val")
    delta = 50 * ((1 - now["val/price/MAE"]) + (now["val/kind/MulticlassAccuracy"] - 0.5) / 0.5)
    assert trainer.callback_metrics["val/delta_mtl"] == pytest.approx(delta, rel=1e-4)
    assert best.best_model_score == pytest.approx(delta, rel=1e-4)


def test_the_table_shows_the_metrics_with_their_directions(capsys):
    trainer = quiet_trainer(callbacks=[MetricTable()])
    trainer.fit(Measured(), table(), table())
    shown = capsys.readouterr().out
    assert "MAE (lower is better)" in shown
    assert "MulticlassAccuracy (higher is better)" in shown
    assert "trivial" not in shown


class OwnStep(Measured):
    def validation_step(self, batch, batch_idx):
        self.log("val/price/mine", torch.tensor(3.0))


class Theirs(L.LightningModule):
    def validation_step(self, batch, batch_idx):
        self.log("val/price/mine", torch.tensor(3.0))


class Mixed(Measured, Theirs):
    pass


@pytest.mark.parametrize("kind", [OwnStep, Mixed])
def test_whoever_writes_a_validation_step_keeps_it(kind, capsys):
    trainer = quiet_trainer(callbacks=[MetricTable()])
    trainer.fit(kind(), table(), table())
    assert {key for key in trainer.callback_metrics if key.startswith("val")} == {"val/price/mine"}
    assert "mine" in capsys.readouterr().out


def test_a_module_without_metrics_has_no_validation_step():
    class Unmeasured(MultiTaskModule):
        task_losses, configure_optimizers = Measured.task_losses, Measured.configure_optimizers

    assert Unmeasured.validation_step is MultiTaskModule.validation_step
    assert Measured.validation_step is not MultiTaskModule.validation_step


def test_metrics_without_predictions_are_an_error_that_names_the_method():
    class Half(Measured):
        task_predictions = MultiTaskModule.task_predictions

    with pytest.raises(NotImplementedError, match=r"`Half.task_predictions` should be written"):
        quiet_trainer().validate(Half(), table(), verbose=False)


def test_hooks_of_ones_own_need_not_call_those_of_the_package():
    class Hooked(Measured):
        def on_validation_epoch_end(self):
            self.log("val/own", torch.tensor(1.0))

    (logged,) = quiet_trainer().validate(Hooked(), table(), verbose=False)
    assert {"val/own", "val/price/MAE"} <= logged.keys()
