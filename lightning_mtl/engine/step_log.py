"""What is logged of each optimizer step."""

from collections.abc import Mapping

import lightning as L
import torch
from torch import Tensor

from lightning_mtl.engine.trainer_facts import forget_logged
from lightning_mtl.engine.window import Window


class StepLog:
    """Collects the values of one optimizer step; several groups of tasks may take part in it.

    Attributes:
        weights: those that were applied last, by the names of the tasks.
    """

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self._values: dict[str, Tensor] = {}
        self._losses: dict[tuple[str, int], Tensor] = {}
        self._logged: set[str] = set()

    def add_window(self, window: Window, tasks: tuple[str, ...]) -> None:
        """Add losses and weights of a window whose gradients have been written.

        Args:
            window: of micro-batches.
            tasks: the names of all tasks.
        """
        losses = dict(zip(window.present, window.losses, strict=True))
        applied = {tasks[k]: weight for k, weight in sorted(window.applied.items())}
        # Groups of tasks that take turns add up; of tasks evaluated again, the last time counts.
        self.weights = self.weights | applied if self._losses else applied
        for k, loss in losses.items():
            self._losses["total", k] = loss
            self._values[f"train/loss/{tasks[k]}"] = loss
        for k, weight in window.applied.items():
            self._losses["weighted", k] = losses[k] * weight.to(losses[k])
            self._values[f"train/weight/{tasks[k]}"] = weight
        for kind in ("total", "weighted"):
            parts = [loss for (key, _), loss in self._losses.items() if key == kind]
            if parts:
                self._values[f"train/{kind}_loss"] = torch.stack(parts).sum()

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add values of a weighting or an observer, by their names under `train/`."""
        self._values |= {f"train/{name}": value for name, value in values.items()}

    def clear(self) -> None:
        """Forget the values of a step that was interrupted; the weights stay."""
        self._values, self._losses = {}, {}

    def write(self, module: L.LightningModule) -> None:
        """Log what the last optimizer step has added. Called after each batch.

        Nothing is logged with `Trainer(barebones=True)`, where Lightning takes a log for a mistake.
        """
        if module.trainer.barebones:
            self.clear()
        if not self._values:
            return
        forget_logged(module.trainer, self._logged - self._values.keys())
        self._logged = set(self._values)
        bar = {name: value for name, value in self._values.items() if "loss" in name}
        rest = {name: value for name, value in self._values.items() if name not in bar}
        module.log_dict(bar, prog_bar=True, on_step=True, on_epoch=False, batch_size=1)
        module.log_dict(rest, on_step=True, on_epoch=False, batch_size=1)
        self.clear()
