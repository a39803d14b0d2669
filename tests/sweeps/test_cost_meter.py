"""A run writes what it costs."""

import json
import time

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_mtl.sweeps import cost_meter
from lightning_mtl.sweeps.cost_meter import WARMUP, CostMeter

SLEEP = 0.02
MEBIBYTE = 2**20


class Slow(L.LightningModule):
    """A module whose batches take at least 0.02 s after the warm-up, and ten times that in it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        time.sleep(SLEEP if batch_idx >= WARMUP else 10 * SLEEP)
        return self.layer(batch[0]).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def costs(tmp_path, batches, accelerator="cpu"):
    file = tmp_path / "costs.json"
    trainer = L.Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=1,
        callbacks=[CostMeter(str(file))],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Slow(), DataLoader(TensorDataset(torch.ones(batches, 4)), batch_size=1))
    return json.loads(file.read_text())


def test_the_time_is_that_of_a_batch_after_the_warm_up(tmp_path):
    found = costs(tmp_path, batches=WARMUP + 6)
    assert SLEEP < found["step_seconds"] < 5 * SLEEP
    assert found["device"] == "cpu"


def test_the_memory_is_what_training_adds_to_that_of_the_process(tmp_path, monkeypatch):
    peaks = iter((3 * MEBIBYTE, 10 * MEBIBYTE))
    monkeypatch.setattr(cost_meter, "_peak_of_process", lambda: next(peaks))
    assert costs(tmp_path, batches=1)["peak_bytes"] == 7 * MEBIBYTE


def test_the_peak_of_a_process_is_in_bytes():
    # Torch alone takes more than 50 MiB, and no test needs 100 GiB.
    assert 50 * MEBIBYTE < cost_meter._peak_of_process() < 100_000 * MEBIBYTE


def test_a_run_that_is_too_short_has_no_time(tmp_path):
    assert costs(tmp_path, batches=WARMUP)["step_seconds"] is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_memory_on_a_gpu_is_that_of_tensors(tmp_path):
    found = costs(tmp_path, WARMUP + 2, accelerator="gpu")
    assert 0 < found["peak_bytes"] < MEBIBYTE
    assert found["device"] == torch.cuda.get_device_name(0)
