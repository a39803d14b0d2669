"""A forecast of two series by PyTorch Forecasting. Run with pytorch-forecasting 1.8.0."""

from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_mtl import TrainingStepLosses
from lightning_mtl.callbacks import EqualWeighting
from tests.support.packages import check_balanced, each_rule, why
from tests.support.toy import Log, parameters, quiet_trainer

forecasting = pytest.importorskip("pytorch_forecasting", reason=why("pytorch-forecasting"))
data = pytest.importorskip("pytorch_forecasting.data", reason=why("pytorch-forecasting"))
pandas = pytest.importorskip("pandas", reason=why("pytorch-forecasting"))

TARGETS = ["load", "price"]

pytestmark = [
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable.*"),
    pytest.mark.filterwarnings("ignore:Attribute '.*' is an instance of `nn.Module`.*"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step`.*"),
    pytest.mark.filterwarnings("ignore:ReduceLROnPlateau conditioned on metric val_loss.*"),
]


class Mine(TrainingStepLosses, forecasting.TemporalFusionTransformer):
    def loss_modules(self):
        return dict(zip(self.target_names, self.loss, strict=True))


def trained(kind: Any, *callbacks: L.Callback) -> tuple[Any, Tensor, Any]:
    time = np.arange(30)
    noise = np.random.default_rng(0).normal(size=(2, 30)) / 10
    load, price = np.sin(time / 3) + noise[0], 3 * np.cos(time / 5) + noise[1]
    frame = pandas.DataFrame({"time": time, "load": load, "price": price, "site": "here"})
    series = forecasting.TimeSeriesDataSet(
        frame,
        time_idx="time",
        target=TARGETS,
        group_ids=["site"],
        max_encoder_length=8,
        max_prediction_length=3,
        time_varying_unknown_reals=TARGETS,
        target_normalizer=data.MultiNormalizer([data.TorchNormalizer(), data.TorchNormalizer()]),
    )
    loss = forecasting.MultiLoss([forecasting.QuantileLoss([0.1, 0.5, 0.9]), forecasting.RMSE()])
    torch.manual_seed(0)
    module = kind.from_dataset(
        series, hidden_size=8, learning_rate=0.01, output_size=[3, 1], loss=loss, optimizer="adam"
    )
    start = parameters(module)
    trainer = quiet_trainer(callbacks=list(callbacks), max_epochs=2, gradient_clip_val=1.0)
    trainer.fit(module, series.to_dataloader(train=True, batch_size=5, shuffle=False))
    return module, start, trainer.callback_metrics


def test_with_equal_weights_it_trains_as_theirs_and_logs_what_theirs_logs() -> None:
    plain, _, expected = trained(forecasting.TemporalFusionTransformer)
    module, _, logged = trained(Mine, EqualWeighting())
    torch.testing.assert_close(parameters(module), parameters(plain))
    assert "train_loss_epoch" in expected
    torch.testing.assert_close({name: logged[name] for name in expected}, dict(expected))


@each_rule
def test_its_series_are_balanced(rule: Any) -> None:
    log = Log()
    module, start, _ = trained(Mine, rule(), log)
    plain, _, _ = trained(forecasting.TemporalFusionTransformer)
    check_balanced(module, log, TARGETS, start, parameters(plain))
