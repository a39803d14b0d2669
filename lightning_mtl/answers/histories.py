"""How a number of each task developed over the runs of a method: weights, or GNR."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from lightning_mtl.answers.answer import Answer
from lightning_mtl.answers.records import RunRecord

WEIGHTS = ("train/weight/",)
"""The columns of weights begin with this."""

RATIOS = ("train/gnr/", "train/noise/gnr/")
"""The columns of gradient-to-noise ratios: a weighting's own estimate before the monitor's."""

BINS = 40
"""Into how many parts of equal length a run is divided; each becomes one point of a curve."""

CHANGE = 1e-3
"""By how much of its size a weight has to change to be drawn."""


@dataclass(frozen=True)
class Curve:
    """A number of one task over the steps of several runs.

    Args:
        steps: the middle of each bin.
        mean: over the runs.
        low: the smallest of the runs.
        high: the largest of the runs.
    """

    steps: Float[np.ndarray, " bins"]
    mean: Float[np.ndarray, " bins"]
    low: Float[np.ndarray, " bins"]
    high: Float[np.ndarray, " bins"]

    @property
    def changes(self) -> bool:
        """Whether the mean is not the same all the time."""
        return bool(np.ptp(self.mean) > CHANGE * np.abs(self.mean).max(initial=0))


Curves = dict[str, Curve]
"""By task."""


def weight_histories(answer: Answer) -> dict[str, Curves]:
    """The weights of the methods whose weights change by more than turns of tasks, by method."""
    found = _histories(answer, WEIGHTS)
    return {
        method: curves
        for method, curves in found.items()
        if any(curve.changes for curve in curves.values())
    }


def ratio_histories(answer: Answer) -> dict[str, Curves]:
    """The gradient-to-noise ratios of the methods that logged them, by method and task."""
    return _histories(answer, RATIOS)


def curves(runs: Sequence[RunRecord], prefixes: Sequence[str]) -> Curves:
    """The mean and the range over runs of the columns that begin with the first prefix found.

    Steps are put into bins and averaged in each, so that runs that log at different steps, and
    weights that alternate from step to step, give readable curves. A run that lacks a bin does not
    count in it.

    Args:
        runs: of one method. Those without a `metrics.csv` are left out.
        prefixes: of columns, with the name of the task after each; the first has priority.
    """
    logs = [log for run in runs if (log := _read(run.folder, prefixes))]
    if not logs:
        return {}
    end = max(steps[-1] for log in logs for steps, _ in log.values())
    edges = np.linspace(0, end + 1, min(BINS, int(end) + 1) + 1)
    found = {}
    for task in dict.fromkeys(task for log in logs for task in log):
        binned = np.stack([_bin(*log[task], edges) for log in logs if task in log])
        kept = np.isfinite(binned).any(axis=0)
        values = np.ma.masked_invalid(binned[:, kept])
        found[task] = Curve(
            steps=((edges[1:] + edges[:-1]) / 2)[kept],
            mean=values.mean(axis=0).filled(np.nan),
            low=values.min(axis=0).filled(np.nan),
            high=values.max(axis=0).filled(np.nan),
        )
    return found


def _histories(answer: Answer, prefixes: Sequence[str]) -> dict[str, Curves]:
    found = {summary.method: curves(summary.runs, prefixes) for summary in answer.methods}
    return {method: tasks for method, tasks in found.items() if tasks}


Log = dict[str, tuple[np.ndarray, np.ndarray]]
"""The steps and the values of each task in one run."""


def _read(folder: Path, prefixes: Sequence[str]) -> Log:
    """The columns of a run's `metrics.csv`; of files in and below the folder the first counts."""
    files = sorted(folder.rglob("metrics.csv"), key=lambda file: len(file.parts))
    if not files:
        return {}
    with files[0].open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    names = list(rows[0]) if rows else []
    prefix = next((each for each in prefixes if any(name.startswith(each) for name in names)), None)
    log: Log = {}
    for column in names if prefix is not None else []:
        if not column.startswith(str(prefix)):
            continue
        points = [(row["step"], row[column]) for row in rows if row["step"] and row[column]]
        if points:
            steps, values = np.array(points, dtype=float).T
            log[column.removeprefix(str(prefix))] = steps, values
    return log


def _bin(
    steps: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"], edges: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " bins"]:
    """The mean of the finite values in each bin; NaN where there are none."""
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    sums, _ = np.histogram(steps, edges, weights=values)
    counts, _ = np.histogram(steps, edges)
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
