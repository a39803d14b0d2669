"""The callback that gives every run the same time."""

import math
import time
from collections.abc import Callable
from typing import Any

import lightning as L


class CpuBudget(L.Callback):
    """Ends training when the process has spent a number of CPU seconds on it.

    CPU time, and not time on the clock, so that runs may share a busy machine. Until then, the
    learning rates fall along half a cosine, from those that the optimizer was built with to zero.

    Args:
        seconds: the budget, without what is done before the first step.
        clock: what tells the CPU time of this process.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.process_time) -> None:
        self.seconds = seconds
        self.clock = clock
        self.started = math.nan
        self.rates: list[float] = []

    @property
    def spent(self) -> float:
        """CPU seconds since the first step."""
        return self.clock() - self.started

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock. Called before the first step."""
        self.rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
        self.started = self.clock()

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Set the learning rates of a step. Called before it."""
        factor = (1 + math.cos(math.pi * min(1.0, self.spent / self.seconds))) / 2
        for group, rate in zip(trainer.optimizers[0].param_groups, self.rates, strict=True):
            group["lr"] = factor * rate

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Stop where the budget is spent. Called after each step."""
        if self.spent >= self.seconds:
            trainer.should_stop = True
