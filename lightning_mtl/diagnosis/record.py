"""What was seen in a short run, before anything is concluded from it."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from lightning_mtl.monitors.measured_step import Measurement

WARM_UP = 0.1
"""The share of the first steps that estimates leave out: initial gradients are like no later."""


class NonFinite(NamedTuple):
    """A loss or gradient that was NaN or infinite, at the first step where any was.

    Attributes:
        task: its name.
        step: the optimizer step, from 0.
        where: which of the two it was.
    """

    task: str
    step: int
    where: Literal["loss", "gradient"]


class LossSeries(NamedTuple):
    """The losses of every batch.

    Attributes:
        tasks: their names.
        values: NaN where a task had no labels.
    """

    tasks: tuple[str, ...]
    values: Float[np.ndarray, "n K"]

    @property
    def presence(self) -> Float[np.ndarray, " K"]:
        """In which share of the batches each task had labels; NaN as a loss counts as none."""
        return np.isfinite(self.values).mean(0) if len(self.values) else np.zeros(len(self.tasks))

    def of(self, task: str) -> Float[np.ndarray, " n"]:
        """The finite losses of a task, those of the first steps included."""
        column = self.values[:, self.tasks.index(task)]
        return column[np.isfinite(column)]

    def typical(self, task: str) -> float:
        """The median of the absolute losses of a task after the first steps; NaN without any."""
        column = self.values[int(WARM_UP * len(self.values)) :, self.tasks.index(task)]
        finite = np.abs(column[np.isfinite(column)])
        return float(np.median(finite)) if len(finite) else float("nan")


class Record(NamedTuple):
    """Everything that was seen in a short run.

    Attributes:
        losses: of every batch.
        measurements: of the gradients.
        shared: how many numbers the shared parameters have.
        steps: how many optimizer steps were begun.
        events: what was not finite.
    """

    losses: LossSeries
    measurements: Sequence[Measurement]
    shared: int
    steps: int
    events: Sequence[NonFinite]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks."""
        return self.losses.tasks
