"""Toy modules that each have one thing wrong, and data for them."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import Dataset
from torchmetrics.regression import MeanSquaredError

from lightning_mtl import MultiTaskModule
from lightning_mtl.data import MultiTaskDataModule

FEATURES = 8
LENGTH = 4096


class PatientSet(Dataset[dict[str, Tensor]]):
    """Inputs with two related targets and two of pure noise."""

    def __init__(self, length: int = LENGTH, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(length, FEATURES, generator=generator)
        self.noise = torch.randn(length, 3, generator=generator)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x, noise = self.x[index], self.noise[index]
        one, two = x[:4].sum(), x[2:6].sum()
        return {"x": x, "one": one, "two": two, "three": two - one, "noise": noise}


class PatientData(MultiTaskDataModule):
    """The same for the command line."""

    def __init__(self, batch_size: int = 32, length: int = LENGTH) -> None:
        super().__init__(batch_size)
        self.length = length

    def dataset(self, split: str) -> PatientSet:
        return PatientSet(self.length if split == "train" else 64, seed=int(split != "train"))


class Healthy(MultiTaskModule):
    """Two tasks that agree, with losses and gradients of one size."""

    task_names: Sequence[str] = ("one", "two")

    def __init__(self, lr: float = 0.002) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.lr = lr
        self.trunk = nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh())
        self.heads = nn.ModuleDict({name: nn.Linear(16, 1) for name in ("one", "two", "three")})
        # Alike from the start, so that related targets pull the trunk alike.
        for head in self.heads.values():
            head.load_state_dict(self.heads["one"].state_dict())

    def predictions(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        features = self.trunk(batch["x"])
        return {task: self.heads[task](features)[:, 0] for task in self.task_names}

    def task_losses(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        predictions = self.predictions(batch)
        return {task: mse_loss(each, batch[task]) for task, each in predictions.items()}

    def task_metrics(self) -> dict[str, MeanSquaredError]:
        return {task: MeanSquaredError() for task in self.task_names}

    def task_predictions(self, batch: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        return {task: (each, batch[task]) for task, each in self.predictions(batch).items()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Dominated(Healthy):
    """One task hardly depends on the trunk: its gradient is small, and its loss of usual size."""

    def task_losses(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        losses = super().task_losses(batch)
        faint = self.heads["two"](0.02 * self.trunk(batch["x"]))[:, 0]
        return losses | {"two": mse_loss(faint, batch["two"])}


class Mismatched(Healthy):
    """The loss of one task is large by a constant, which no gradient sees."""

    def task_losses(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        losses = super().task_losses(batch)
        return losses | {"two": losses["two"] + 1000}


class Unlabelled(Healthy):
    """No label of one task is valid: its loss is the zero of an empty mean."""

    def task_losses(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        losses = super().task_losses(batch)
        return losses | {"two": 0 * losses["two"]}


class Uncounted(Healthy):
    """The labels of one task are counted, and there are none."""

    def task_losses(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        losses = super().task_losses(batch)
        return losses | {"two": (0 * losses["two"], 0)}


class Absent(Healthy):
    """One task is never there."""

    def task_losses(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        return {"one": super().task_losses(batch)["one"]}


class CutOff(Healthy):
    """One of three tasks reads features that are detached."""

    task_names = ("one", "two", "three")

    def task_losses(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        losses = super().task_losses(batch)
        features = self.trunk(batch["x"]).detach()
        third = mse_loss(self.heads["three"](features)[:, 0], batch["one"])
        return {"one": losses["one"], "two": losses["two"], "three": third}


class Separate(Healthy):
    """Two tasks without a common parameter."""

    def task_losses(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        second = self.heads["two"](batch["x"].repeat(1, 2))[:, 0]
        return {
            "one": super().task_losses(batch)["one"],
            "two": mse_loss(second, batch["two"]),
        }


class Opposed(Healthy):
    """Two tasks want the opposite of each other."""

    def task_losses(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        predictions = self.predictions(batch)
        return {
            "one": mse_loss(predictions["one"], batch["one"]),
            "two": mse_loss(predictions["two"], -batch["one"]),
        }


class Noise(Healthy):
    """Two tasks whose expected gradients are zero."""

    def task_losses(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        predictions = self.predictions(batch)
        return {
            task: 2 + (predictions[task] * batch["noise"][:, column]).mean()
            for column, task in enumerate(self.task_names)
        }


class Broken(Healthy):
    """The loss of one task is infinite at step 5."""

    def task_losses(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        losses = super().task_losses(batch)
        factor = torch.inf if self.global_step == 5 else 1.0
        return losses | {"two": factor * losses["two"]}


class Burst(Healthy):
    """The gradient of one task is infinite at step 5, and its loss is finite."""

    def task_losses(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        losses = super().task_losses(batch)
        if self.global_step == 5:
            # The root has no derivative at zero.
            losses["two"] = losses["two"] + (0 * losses["two"]).sqrt()
        return losses


def make_trainer(callbacks: Sequence[L.Callback], **settings: Any) -> L.Trainer:
    quiet = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": -1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "limit_val_batches": 1,
    }
    return L.Trainer(**(quiet | settings), callbacks=list(callbacks))
