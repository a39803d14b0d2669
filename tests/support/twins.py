"""Twins: one network as a plain LightningModule and as a `MultiTaskModule`, trained alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_mtl import MultiTaskModule
from lightning_mtl.callbacks import EqualWeighting, GradNorm, GramianWeighting, JacobianWeighting
from tests.support.toy import TASKS, Toy, quiet_trainer, toy_loader, validation


def momentum(module: "Network") -> torch.optim.Optimizer:
    """SGD of what is trainable now, so that frozen parts can join later."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return torch.optim.SGD(trainable, lr=module.lr, momentum=0.9)


class Trunk(nn.Sequential):
    """A container that is compiled by every release of torch; older ones pass over torch's own."""

    def forward(self, x: Tensor) -> Tensor:
        for part in self:
            x = part(x)
        return x


class Network(L.LightningModule):
    """The toy's trunk and heads, without a training step.

    Args:
        recipe: what `configure_optimizers` returns for the module.
        norm: whether the trunk ends with batch norm.
    """

    def __init__(
        self, recipe: Callable[["Network"], Any] = momentum, norm: bool = False, lr: float = 0.03
    ) -> None:
        super().__init__()
        toy = Toy()
        self.trunk, self.heads, self.scales = toy.trunk, toy.heads, toy.scales
        if norm:
            self.trunk.append(nn.BatchNorm1d(8))
        self.recipe = recipe
        self.lr = lr
        self.batch_size = 4

    @property
    def backbone(self) -> nn.Module:
        return self.trunk

    def task_losses(self, batch: Any) -> dict[str, Tensor]:
        """Losses of a batch with all targets, or of a batch for each task."""
        if isinstance(batch, dict):
            given = {task: each for task, each in batch.items() if each is not None}
            return {task: self._loss(task, self.trunk(x), y) for task, (x, y) in given.items()}
        x, *targets = batch
        features = self.trunk(x)
        return {t: self._loss(t, features, y) for t, y in zip(TASKS, targets, strict=True)}

    def _loss(self, task: str, features: Tensor, target: Tensor) -> Tensor:
        return self.scales[task] * nn.functional.mse_loss(self.heads[task](features), target)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        if not self.trainer.barebones:
            self.log("val/loss", sum(self.task_losses(batch).values()))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test/loss", sum(self.task_losses(batch).values()))

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.trunk(batch[0])

    def configure_optimizers(self) -> Any:
        return self.recipe(self)


class Plain(Network):
    """The twin that knows nothing of this package."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = sum(self.task_losses(batch).values())
        if not self.trainer.barebones:
            self.log("train/total_loss", loss, prog_bar=True)
        return loss


class Balanced(Network, MultiTaskModule):
    """The twin whose losses may be balanced."""

    task_names = TASKS


class GramianOnes(GramianWeighting):
    """The longest way to equal weights: through the Gramian."""

    def weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        return torch.ones_like(losses)


class JacobianOnes(JacobianWeighting):
    """The same through the Jacobian."""

    def combine(self, losses: Tensor, jacobian: Tensor) -> Tensor:
        return jacobian.sum(0)


Rules = Callable[[], list[L.Callback]]

WEIGHTS_OF_ONE: dict[str, Rules] = {
    "none": list,
    "losses": lambda: [EqualWeighting()],
    "GradNorm": lambda: [GradNorm(lr=0.0)],
    "Gramian": lambda: [GramianOnes()],
    "Jacobian": lambda: [JacobianOnes()],
}


class Run(NamedTuple):
    """Builds modules of one kind, and Trainers with the callbacks of one weighting.

    Attributes:
        module: the kind of twin.
        rules: the weighting, or none.
        folder: where files are written.
    """

    module: type[Network]
    rules: Rules
    folder: Path

    def trainer(self, *callbacks: L.Callback, **settings: Any) -> L.Trainer:
        rules = [*self.rules(), *callbacks]
        return quiet_trainer(
            **({"callbacks": rules, "max_epochs": 2, "default_root_dir": self.folder} | settings)
        )

    def fit(
        self, module: Network, *callbacks: L.Callback, data: Any = None, **settings: Any
    ) -> L.Trainer:
        """Train a module on 16 samples, in batches of four, and validate it."""
        trainer = self.trainer(*callbacks, **settings)
        trainer.fit(module, small_loader() if data is None else data, validation())
        return trainer


DOUBLE: dict[str, Any] = {"precision": "64-true"}
"""Settings where a rounding error grows to more than 1e-6 within a run, in the plain twin too."""


def small_loader() -> DataLoader:
    return toy_loader(samples=16)


def state(module: nn.Module) -> Tensor:
    """Parameters and buffers."""
    return torch.cat([value.detach().double().flatten() for value in module.state_dict().values()])
