"""The table of what a network costs."""

import pytest
import torch

from lightning_mtl import DensePrediction
from lightning_mtl.callbacks import NetworkTable
from lightning_mtl.models import SharedEncoder
from lightning_mtl.tasks import Depth, Segmentation
from tests.support.toy import Toy, parameters, quiet_trainer, toy_loader
from tests.test_dense_prediction import rooms


def module() -> DensePrediction:
    torch.manual_seed(0)
    tasks = [Segmentation(5), Depth()]
    return DensePrediction(tasks, lambda c: SharedEncoder(c, "tu-test_resnet", decoder="fpn"))


def test_it_is_shown_once_before_training(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = quiet_trainer(max_epochs=2, callbacks=[NetworkTable()], limit_val_batches=1)
    trainer.fit(module(), rooms(4), rooms(2))
    shown = capsys.readouterr().out
    assert shown.count("multiply-adds") == 1
    lines = [line for line in shown.splitlines() if "│" in line]
    assert [line.split("│")[1].strip() for line in lines] == [
        "shared",
        "segmentation",
        "depth",
        "all",
    ]
    assert " M" in lines[-1]


def test_training_is_the_same_to_the_bit() -> None:
    def trained(callbacks: list[NetworkTable]) -> torch.Tensor:
        trained_module = module()
        trainer = quiet_trainer(max_steps=2, callbacks=callbacks, limit_val_batches=1)
        trainer.fit(trained_module, rooms(4), rooms(2))
        return parameters(trained_module)

    assert torch.equal(trained([]), trained([NetworkTable()]))


def test_another_module_has_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    quiet_trainer(max_steps=1, callbacks=[NetworkTable()]).fit(Toy(), toy_loader())
    assert "multiply-adds" not in capsys.readouterr().out
