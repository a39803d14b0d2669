"""Results with known differences, and the logs of runs."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lightning_mtl.answers.records import Measure, Results, RunRecord

MEASURES = (
    Measure("segmentation", "val/segmentation/mIoU", True),
    Measure("depth", "val/depth/RMSE", False),
    Measure("normals", "val/normals/mean", False),
)
CENTRES = {"segmentation": 0.52, "depth": 0.61, "normals": 24.0}
SIX = {"equal": 0.0, "planted": 0.1, "a": 0.0, "b": 0.002, "worse": -0.12, "c": -0.002}
"""By how much of its size each metric is better than the reference's."""


def metrics(measures: Sequence[Measure], gain: float, noise: np.ndarray) -> dict[str, float]:
    return {
        measure.column: CENTRES.get(measure.task, 1.0)
        * (1 + (1 if measure.higher_is_better else -1) * (gain + float(each)))
        for measure, each in zip(measures, noise, strict=True)
    }


def planted(
    gains: Mapping[str, float] = SIX,
    seeds: int = 5,
    measures: Sequence[Measure] = MEASURES,
    noise: float = 0.01,
    folder: Path = Path("runs"),
    **others: object,
) -> Results:
    """Results whose methods differ by known gains, relative to the size of each metric."""
    stream = np.random.default_rng(0)
    runs = [
        RunRecord(
            method,
            seed,
            metrics(measures, gain, noise * stream.standard_normal(len(measures))),
            folder / f"{index}_{seed}",
            step_seconds=0.1 * (1 + 0.3 * index),
            peak_bytes=1e9 * (1 + 0.1 * index),
            settings={"learning rate": "× 2", "weights": {"depth": 0.5}} if index else {},
        )
        for index, (method, gain) in enumerate(gains.items())
        for seed in range(seeds)
    ]
    single = {
        measure.task: [
            CENTRES.get(measure.task, 1.0) * (1 + noise * float(each))
            for each in stream.standard_normal(5)
        ]
        for measure in measures
    }
    given = {"single_tasks": single, "reference": next(iter(gains)), "name": "Rooms", **others}
    return Results(measures=tuple(measures), runs=tuple(runs), **given)


def write_log(folder: Path, columns: Mapping[str, Sequence[float | None]], every: int = 10) -> None:
    """The `metrics.csv` of a run, with a validation row in between that has no weights."""
    folder.mkdir(parents=True)
    with (folder / "metrics.csv").open("w", newline="") as lines:
        writer = csv.DictWriter(lines, ["epoch", "step", "val/depth/RMSE", *columns])
        writer.writeheader()
        for index, values in enumerate(zip(*columns.values(), strict=True)):
            writer.writerow(
                {
                    "epoch": 0,
                    "step": index * every,
                    **{
                        name: "" if value is None else value
                        for name, value in zip(columns, values, strict=True)
                    },
                }
            )
        writer.writerow({"epoch": 0, "step": index * every, "val/depth/RMSE": 1.0})


def with_metric(
    results: Results, method: str, seed: int, column: str, value: float | None
) -> Results:
    """The results with another value in one run; without one for `None`."""
    runs = []
    for run in results.runs:
        found = dict(run.metrics)
        if (run.method, run.seed) == (method, seed):
            found.pop(column)
            found |= {} if value is None else {column: value}
        runs.append(replace(run, metrics=found))
    return replace(results, runs=tuple(runs))


def without_runs(results: Results, method: str, seeds: Sequence[int]) -> Results:
    """The results before some runs of a method have finished."""
    kept = [run for run in results.runs if not (run.method == method and run.seed in seeds)]
    return replace(results, runs=tuple(kept))
