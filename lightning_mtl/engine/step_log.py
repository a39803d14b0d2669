"""What is logged of each optimizer step."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_mtl.engine.trainer_facts import forget_logged, renew_logged, writes_row
from lightning_mtl.engine.transfers import Arrival
from lightning_mtl.engine.window import Window, select
from lightning_mtl.linalg.host import on_host

BAR = {"total": "train/total_loss", "weighted": "train/weighted_loss"}
"""What the progress bar shows, under names that leave it on one line, and what is logged as it."""


class StepLog:
    """Collects the values of one optimizer step; several groups of tasks may take part in it.

    Lightning brings what the progress bar shows to the host after each batch. On a device these
    numbers are copied there without waiting for them, and shown as soon as they have arrived: one
    or two steps late.

    Attributes:
        weights: those that were applied last, by the names of the tasks.
    """

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self._details: dict[str, Tensor] = {}
        self._measured: dict[str, Tensor] = {}
        self._unwritten: dict[str, Tensor] = {}
        self._shown: tuple[str, ...] = ()
        self._sums: dict[tuple[int, ...], dict[str, Tensor]] = {}
        self._logged: set[str] = set()
        self._arrivals: dict[str, Arrival] = {}

    def add_window(self, window: Window, tasks: tuple[str, ...], reweights: bool) -> None:
        """Add losses and weights of a window whose gradients have been written.

        Args:
            window: of micro-batches.
            tasks: the names of all tasks.
            reweights: whether some weights differ from 1, so that the bar shows the weighted sum.
        """
        self._shown = ("total", "weighted") if reweights else ("total",)
        present, losses, applied = window.present, window.given_losses, window.applied
        weights = {tasks[k]: weight for k, weight in sorted(applied.items())}
        # Groups of tasks that take turns add up; of tasks evaluated again, the last time counts.
        self.weights = self.weights | weights if self._sums else weights
        for k, loss in zip(present, losses.unbind(), strict=True):
            self._details[f"train/loss/{tasks[k]}"] = loss
        for task, weight in weights.items():
            self._details[f"train/weight/{task}"] = weight
        sums = {"total": losses.sum()}
        if applied and not reweights and len(applied) == len(present):
            sums["weighted"] = sums["total"]
        elif applied:
            trained = select(losses, [present.index(k) for k in sorted(applied)])
            sums["weighted"] = (trained * torch.stack(list(weights.values()))).sum()
        self._sums[tuple(present)] = sums

    def add_details(self, values: Mapping[str, Tensor]) -> None:
        """Add values of the weighting, by their names under `train/`."""
        self._details |= {f"train/{name}": value for name, value in values.items()}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add values of an observer, by their names under `train/`: always logged.

        Whatever `Trainer(log_every_n_steps=)` is, the next row that the loggers write has them, if
        nothing else was measured before.
        """
        self._measured |= {f"train/{name}": value for name, value in values.items()}

    def clear(self) -> None:
        """Forget the values of a step that was interrupted; the weights stay."""
        self._details, self._measured, self._sums = {}, {}, {}

    def write(self, module: Any) -> None:
        """Log what the last optimizer step has added. Called after each batch.

        Nothing is logged with `Trainer(barebones=True)`, where Lightning takes a log for a mistake.

        Args:
            module: the `MultiTaskModule`, whose `log_tasks` and `prog_bar` choose.
        """
        if not self._sums and not self._measured:
            return
        values, bar = self._chosen(module)
        self._unwritten = self._measured or self._unwritten
        self.clear()
        if module.trainer.barebones:
            return
        if writes_row(module.trainer):
            values |= self._unwritten
            self._unwritten = {}
        forget_logged(module.trainer, self._logged - values.keys() - bar.keys())
        self._logged = {*values, *bar}
        renew_logged(module, values)
        renew_logged(module, self._arrived(bar), prog_bar=True, logger=False)

    def _chosen(self, module: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What to log, and what to show in the progress bar."""
        details = self._details if module.log_tasks else {}
        totals = self._totals() if module.log_tasks or module.prog_bar else {}
        shown = self._shown if module.prog_bar else ()
        bar = {name: totals[BAR[name]] for name in shown if BAR[name] in totals}
        return details | totals | self._measured, bar

    def _totals(self) -> dict[str, Tensor]:
        """The sums over all tasks, of whichever group."""
        totals: dict[str, Tensor] = {}
        for kind in ("total", "weighted"):
            parts = [sums[kind] for sums in self._sums.values() if kind in sums]
            if parts:
                totals[f"train/{kind}_loss"] = sum(parts[1:], start=parts[0])
        return totals

    def _arrived(self, bar: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is there to be shown: of a device, the last numbers that have reached the host."""
        shown = {}
        for name, value in bar.items():
            if on_host(value):
                shown[name] = value
            elif name not in self._arrivals or self._arrivals[name].is_here:
                if name in self._arrivals:
                    shown[name] = self._arrivals[name].wait()
                self._arrivals[name] = Arrival(value)
        return shown
