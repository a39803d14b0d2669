"""A module and data for sweeps in seconds: two tasks on random points, one of them noisy."""

import time
from pathlib import Path

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import TensorDataset
from torchmetrics import MeanMetric
from torchmetrics.regression import MeanSquaredError

from lightning_mtl import MultiTaskModule
from lightning_mtl.data import MultiTaskDataModule

ROOM = __name__
CONFIG = {
    "model": {"class_path": f"{ROOM}.Swept"},
    "data": {"class_path": f"{ROOM}.SweptData"},
    "trainer": {"accelerator": "cpu", "max_epochs": 2},
}


class Swept(MultiTaskModule):
    """Distance from the origin and height of points."""

    def __init__(self, lr: float = 0.01, fails: bool = False, patience: float = 0.0) -> None:
        super().__init__()
        self.lr, self.fails, self.patience = lr, fails, patience
        self.trunk = nn.Sequential(nn.Linear(2, 8), nn.Tanh())
        self.heads = nn.ModuleDict({"distance": nn.Linear(8, 1), "height": nn.Linear(8, 1)})

    def predictions(self, points: Tensor) -> dict[str, Tensor]:
        features = self.trunk(points)
        return {task: head(features).squeeze(1) for task, head in self.heads.items()}

    def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
        if self.fails:
            raise RuntimeError("this module cannot be trained")
        time.sleep(self.patience)
        found = self.predictions(batch[0])
        return {
            task: mse_loss(found[task], batch[index])
            for index, task in enumerate(("distance", "height"), 1)
        }

    def task_metrics(self) -> dict[str, MeanSquaredError]:
        return {task: MeanSquaredError() for task in self.heads}

    def task_predictions(self, batch: list[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        found = self.predictions(batch[0])
        return {"distance": (found["distance"], batch[1]), "height": (found["height"], batch[2])}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Unmeasured(Swept):
    """The same without a metric for one of its tasks."""

    def task_metrics(self) -> dict[str, MeanSquaredError]:
        return {"distance": MeanSquaredError()}


class Undirected(Swept):
    """The same with metrics that do not say what is better."""

    def task_metrics(self) -> dict[str, MeanMetric]:
        return {task: MeanMetric() for task in self.heads}


class Wide(Swept):
    """The same with a learning rate of another name."""

    def __init__(self, learning_rate: float = 0.01) -> None:
        super().__init__(learning_rate)


class FailsOnce(L.Callback):
    """Lets the first run with a GradNorm fail that starts in the working directory."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        weightings = {type(each).__name__ for each in trainer.callbacks}
        mark = Path("failed")
        if "GradNorm" in weightings and not mark.exists():
            mark.touch()
            raise RuntimeError("this run cannot be trained")


class SweptData(MultiTaskDataModule):
    """The same points in every run; each split has its own."""

    def __init__(self, batch_size: int = 16, on_test: bool = False) -> None:
        super().__init__(batch_size)
        self.on_test = on_test

    @property
    def validates_on_test(self) -> bool:
        return self.on_test

    def dataset(self, split: str) -> TensorDataset:
        generator = torch.Generator().manual_seed(("train", "val", "test").index(split))
        points = torch.randn(64, 2, generator=generator)
        noise = torch.randn(64, generator=generator)
        return TensorDataset(points, points.norm(dim=1), points[:, 1] + noise)

    def train_dataloader(self):  # type: ignore[no-untyped-def]
        return torch.utils.data.DataLoader(self._built("train"), 16, shuffle=True)

    def val_dataloader(self):  # type: ignore[no-untyped-def]
        return torch.utils.data.DataLoader(self._built("val"), 64)
