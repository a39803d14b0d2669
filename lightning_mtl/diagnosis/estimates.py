"""All estimates of a short run, of the tasks that are alive."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lightning_mtl.diagnosis.gradients import (
    Pair,
    critical_batches,
    gradient_series,
    pairs,
    shares,
)
from lightning_mtl.diagnosis.record import Record
from lightning_mtl.statistics import Interval


class Estimates(NamedTuple):
    """What is known of the tasks, with intervals.

    Attributes:
        dead: tasks that are not trained, each with the reason; the rest is about the others.
        alive: all others.
        shares: of the summed norms of the averaged gradients.
        pairs: how each two of them stand to each other.
        critical_batches: in samples.
        samples: in an optimizer step.
        measurements: how many there are.
    """

    dead: Mapping[str, str]
    alive: Sequence[str]
    shares: Mapping[str, Interval]
    pairs: Sequence[Pair]
    critical_batches: Mapping[str, Interval]
    samples: float
    measurements: int


def estimate(record: Record, dead: Mapping[str, str]) -> Estimates:
    """The estimates from a record.

    Args:
        record: of a short run.
        dead: tasks to leave out, each with the reason.
    """
    alive = [task for task in record.tasks if task not in dead]
    measured = [each for each in record.measurements if set(each.tasks) & set(alive)]
    series = gradient_series(record.tasks, measured).of(alive)
    return Estimates(
        dead=dead,
        alive=alive,
        shares=shares(series),
        pairs=pairs(series),
        critical_batches=critical_batches(series),
        samples=series.samples,
        measurements=len(series.powers),
    )
