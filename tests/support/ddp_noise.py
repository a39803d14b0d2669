"""The monitor of gradient noise on two gloo ranks, as a user's script would run it."""

import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_mtl.callbacks import GradientNoiseMonitor
from tests.support.ranks import results_of, save_of_first
from tests.support.toy import Toy, ToyData, quiet_trainer, toy_data


def monitored(devices: int, batch_size: int, accumulate: int) -> dict[str, Any]:
    """What the monitor logs last, its averages, its pictures, and the parameters."""
    settings = {"devices": devices, "accumulate_grad_batches": accumulate}
    if devices > 1:
        settings["strategy"] = "ddp"
    module = Toy()
    monitor = GradientNoiseMonitor(every_n_steps=1)
    # Two ranks take turns in drawing samples: micro-batches of the same samples, one by one.
    dealt = toy_data()[torch.arange(80).view(-1, batch_size, 2).mT.flatten()]
    data = ToyData(batch_size)
    if devices == 1:
        loader = DataLoader(TensorDataset(*dealt), batch_size=batch_size)
        data.train_dataloader = lambda: loader
    with tempfile.TemporaryDirectory() as folder:
        trainer = quiet_trainer(callbacks=[monitor], default_root_dir=folder, **settings)
        trainer.fit(module, data)
        pictures = sorted(path.name for path in Path(folder).rglob("*.png"))
    logged = {k: float(v) for k, v in trainer.logged_metrics.items() if "noise/" in k}
    averages = monitor.averages.tensors
    return {"logged": logged, "averages": averages, "pictures": pictures}


@cache
def two_ranks() -> dict[str, Any]:
    """The results of this script, run once."""
    return results_of("ddp_noise")


def main() -> None:
    warnings.simplefilter("ignore")
    results = monitored(devices=2, batch_size=4, accumulate=1)
    save_of_first(results, sys.argv[1])


if __name__ == "__main__":
    main()
