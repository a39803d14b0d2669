"""A program of a user: five tasks, trained with each of Lightning's bars on a terminal."""

import warnings
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar, TQDMProgressBar
from lightning.pytorch.utilities import rank_zero_info
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_mtl import MultiTaskModule
from lightning_mtl.callbacks import GradNorm
from lightning_mtl.engine.terminal import show, show_last

ROWS = 8


class Five(MultiTaskModule):
    """A layer, and five heads."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(4, 8)
        self.heads = nn.ModuleDict({f"task_{k}": nn.Linear(8, 1) for k in range(5)})

    def task_losses(self, batch: Any) -> dict[str, Tensor]:
        features = self.trunk(batch[0]).relu()
        return {task: (head(features) - 1).square().mean() for task, head in self.heads.items()}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", torch.stack(list(self.task_losses(batch).values())).sum())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


class Talk(L.Callback):
    """Prints and logs at every occasion, as callbacks do."""

    def __init__(self, name: str) -> None:
        self.name = name

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == 2:
            show(trainer, table(f"{self.name} network"))

    def on_train_epoch_end(self, trainer: L.Trainer, *_: Any) -> None:
        rank_zero_info(f"{self.name} epoch {trainer.current_epoch} has ended. " + "word " * 20)

    def on_fit_end(self, trainer: L.Trainer, *_: Any) -> None:
        show_last(trainer, table(f"{self.name} result"))


def table(name: str) -> Table:
    made = Table(title=name, title_justify="left")
    made.add_column("row")
    for row in range(ROWS):
        made.add_row(f"{name} {row}")
    return made


def fit(name: str, bar: ProgressBar) -> None:
    data = DataLoader(TensorDataset(torch.ones(24, 4)), batch_size=2)
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[GradNorm(), bar, Talk(name)],
    )
    trainer.fit(Five(), data, data)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    fit("rich", RichProgressBar())
    fit("tqdm", TQDMProgressBar())
