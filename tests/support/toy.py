"""A small network of three regression tasks, and Trainers that train it: shared by many tests."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from lightning_mtl import MultiTaskModule, join_features

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


class ToyData(L.LightningDataModule):
    """The toy's data in a fixed order; ranks take turns, so that two see what one would see."""

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader:
        data = toy_data()
        sampler = DistributedSampler(
            data, self.trainer.world_size, self.trainer.global_rank, shuffle=False
        )
        return DataLoader(data, batch_size=self.batch_size, sampler=sampler)


def toy_loader(batch_size: int = 4, samples: int = 80) -> DataLoader:
    return DataLoader(toy_data(samples), batch_size=batch_size)


def validation() -> DataLoader:
    return toy_loader(batch_size=16, samples=16)


class GradedData(ToyData):
    """The same, and a few samples to validate on, of which every rank sees its own."""

    def val_dataloader(self) -> DataLoader:
        data = toy_data(16)
        sampler = DistributedSampler(
            data, self.trainer.world_size, self.trainer.global_rank, shuffle=False
        )
        return DataLoader(data, batch_size=self.batch_size, sampler=sampler)


def quiet_trainer(**overrides: Any) -> L.Trainer:
    settings: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return L.Trainer(**(settings | overrides))


def parameters(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def weights(module: MultiTaskModule) -> Tensor:
    """Those that were applied last; none if the combined gradient is no weighted sum."""
    return torch.tensor([float(weight) for weight in module.task_weights.values()])


class Log(L.Callback):
    """What is in the log after every batch."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.rows.append({key: float(value) for key, value in trainer.callback_metrics.items()})


def logged(module: Toy, *callbacks: L.Callback, **settings: Any) -> list[dict[str, float]]:
    log = Log()
    trainer = quiet_trainer(callbacks=[*callbacks, log], **settings)
    trainer.fit(module, toy_loader())
    # Callbacks come before the module, which does the logging: a row is that of the batch before.
    return [*log.rows[1:], {key: float(value) for key, value in trainer.callback_metrics.items()}]


class ResumableLoader:
    """Batches in a fixed order that a mid-epoch checkpoint remembers, as stateful loaders do."""

    def __init__(self, loader: Iterable[Any] | None = None) -> None:
        self.batches = list(toy_loader() if loader is None else loader)
        self.position = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self):
        # Whoever knows the length never asks for the end, so a full epoch is noticed here.
        self.position %= len(self.batches)
        while self.position < len(self.batches):
            self.position += 1
            yield self.batches[self.position - 1]

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]


class PartlyLabelled(Toy):
    """A toy whose tasks come and go: task `k` is absent where its first target is above a level."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        present = {
            task: bool(target[0, 0] < 0.5) for task, target in zip(TASKS, batch[1:], strict=True)
        }
        kept = {task: loss for task, loss in losses.items() if present[task]}
        return kept or {TASKS[0]: losses[TASKS[0]]}


class Graded(Toy):
    """A toy that validates how well each task performs: an indicator in (0, 1]."""

    def on_fit_start(self) -> None:
        # Ranks that nobody has seeded alike.
        torch.manual_seed(7 + self.global_rank)

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        x, *targets = batch
        features = self.trunk(x)
        for task, target in zip(TASKS, targets, strict=True):
            error = (self.heads[task](features) - target).abs()
            # Without `sync_dist`, as many write it: every rank logs what it has seen.
            self.log(f"val/{task}", torch.exp(-error).mean(), batch_size=len(x))


def straight_and_resumed(
    build: Callable[[], L.Callback], folder: Path, network: type[Graded] = Graded
) -> tuple[Graded, Graded]:
    """Two modules that were trained alike, the second resumed in the midst of its third epoch."""

    def train(ckpt_path: Path | None = None) -> Graded:
        module = network(torch.optim.Adam, lr=0.01)
        saver = ModelCheckpoint(
            folder, filename="middle", every_n_train_steps=10, enable_version_counter=False
        )
        trainer = quiet_trainer(callbacks=[build(), saver], max_epochs=4, enable_checkpointing=True)
        batches = ResumableLoader(toy_loader(samples=16))
        trainer.fit(module, batches, validation(), ckpt_path=ckpt_path)
        return module

    return train(), train(folder / "middle.ckpt")


class PartlyGraded(Graded, PartlyLabelled):
    """Validated, and with tasks that come and go."""


class Skipping(Toy):
    """A trunk whose stages all feed the heads, as an encoder with skip connections does."""

    def __init__(self, joined: bool) -> None:
        super().__init__()
        self.joined = joined
        self.trunk = nn.ModuleList([nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8)])

    def stages_of(self, x: Tensor) -> Sequence[Tensor]:
        """The features that the heads receive."""
        stages = []
        for layer in self.trunk:
            x = torch.tanh(layer(x))
            stages.append(x)
        return join_features(stages) if self.joined else stages

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        stages = self.stages_of(x)
        used = {"one": stages[2] + stages[0], "two": stages[2] * stages[1], "three": stages[1]}
        return {
            task: self.scales[task] * nn.functional.mse_loss(self.heads[task](used[task]), target)
            for task, target in zip(TASKS, targets, strict=True)
        }
