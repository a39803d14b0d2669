"""A small network of three regression tasks, and Trainers that train it: shared by many tests."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_mtl import MultiTaskModule

TASKS = ("one", "two", "three")


class Toy(MultiTaskModule):
    """A trunk of two layers with batch-independent layers only, and three heads of unequal loss."""

    task_names = TASKS

    def __init__(self, optimizer: type[torch.optim.Optimizer] = torch.optim.SGD, lr: float = 0.05):
        super().__init__()
        torch.manual_seed(7)
        self.trunk = nn.Sequential(
            nn.Linear(6, 16), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 8), nn.Tanh()
        )
        self.heads = nn.ModuleDict({task: nn.Linear(8, 2) for task in TASKS})
        self.scales = dict(zip(TASKS, (1.0, 5.0, 0.2), strict=True))
        self.optimizer = optimizer
        self.lr = lr

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        features = self.trunk(x)
        return {
            task: self.scales[task] * nn.functional.mse_loss(self.heads[task](features), target)
            for task, target in zip(TASKS, targets, strict=True)
        }

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.parameters(), lr=self.lr)


def toy_data(samples: int = 80) -> TensorDataset:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(samples, 6, generator=generator)
    targets = [torch.randn(6, 2, generator=generator) for _ in TASKS]
    return TensorDataset(x, *(torch.sin(x @ target) for target in targets))


def toy_loader(batch_size: int = 4, samples: int = 80) -> DataLoader:
    return DataLoader(toy_data(samples), batch_size=batch_size)


def quiet_trainer(**overrides: Any) -> L.Trainer:
    settings: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return L.Trainer(**(settings | overrides))


def parameters(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
