"""What is logged of each optimizer step."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_mtl.engine.trainer_facts import forget_logged
from lightning_mtl.engine.window import Window

BAR = {"total": "train/total_loss", "weighted": "train/weighted_loss"}
"""What the progress bar shows, under names that leave it on one line, and what is logged as it."""


class StepLog:
    """Collects the values of one optimizer step; several groups of tasks may take part in it.

    Attributes:
        weights: those that were applied last, by the names of the tasks.
    """

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self._totals: dict[str, Tensor] = {}
        self._details: dict[str, Tensor] = {}
        self._measured: dict[str, Tensor] = {}
        self._shown: tuple[str, ...] = ()
        self._losses: dict[tuple[str, int], Tensor] = {}
        self._logged: set[str] = set()

    def add_window(self, window: Window, tasks: tuple[str, ...], reweights: bool) -> None:
        """Add losses and weights of a window whose gradients have been written.

        Args:
            window: of micro-batches.
            tasks: the names of all tasks.
            reweights: whether the progress bar shows the weighted sum beside the plain one.
        """
        self._shown = ("total", "weighted") if reweights else ("total",)
        losses = dict(zip(window.present, window.losses, strict=True))
        applied = {tasks[k]: weight for k, weight in sorted(window.applied.items())}
        # Groups of tasks that take turns add up; of tasks evaluated again, the last time counts.
        self.weights = self.weights | applied if self._losses else applied
        for k, loss in losses.items():
            self._losses["total", k] = loss
            self._details[f"train/loss/{tasks[k]}"] = loss
        for k, weight in window.applied.items():
            self._losses["weighted", k] = losses[k] * weight.to(losses[k])
            self._details[f"train/weight/{tasks[k]}"] = weight
        for kind in ("total", "weighted"):
            parts = [loss for (key, _), loss in self._losses.items() if key == kind]
            if parts:
                self._totals[f"train/{kind}_loss"] = torch.stack(parts).sum()

    def add_details(self, values: Mapping[str, Tensor]) -> None:
        """Add values of the weighting, by their names under `train/`."""
        self._details |= {f"train/{name}": value for name, value in values.items()}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add values of an observer, by their names under `train/`: always logged."""
        self._measured |= {f"train/{name}": value for name, value in values.items()}

    def clear(self) -> None:
        """Forget the values of a step that was interrupted; the weights stay."""
        self._totals, self._details, self._measured, self._losses = {}, {}, {}, {}

    def write(self, module: Any) -> None:
        """Log what the last optimizer step has added. Called after each batch.

        Nothing is logged with `Trainer(barebones=True)`, where Lightning takes a log for a mistake.

        Args:
            module: the `MultiTaskModule`, whose `log_tasks` and `prog_bar` choose.
        """
        if not self._losses and not self._measured:
            return
        values, bar = self._chosen(module)
        self.clear()
        if module.trainer.barebones:
            return
        forget_logged(module.trainer, self._logged - values.keys() - bar.keys())
        self._logged = {*values, *bar}
        module.log_dict(values, on_step=True, on_epoch=False, batch_size=1)
        module.log_dict(
            bar, prog_bar=True, logger=False, on_step=True, on_epoch=False, batch_size=1
        )

    def _chosen(self, module: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What to log, and what to show in the progress bar."""
        details = self._details if module.log_tasks else {}
        totals = self._totals if module.log_tasks or module.prog_bar else {}
        shown = self._shown if module.prog_bar else ()
        bar = {name: self._totals[BAR[name]] for name in shown if BAR[name] in self._totals}
        return details | totals | self._measured, bar
