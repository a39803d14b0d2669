"""One number for each run: its mean improvement over the baselines, and which runs have one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lightning_mtl.answers.records import Measure, Results, RunRecord
from lightning_mtl.metrics.performance import multi_task_performance


@dataclass(frozen=True)
class Score:
    """A number for each run in percent; higher is better.

    Args:
        name: `Delta_MTL`, or the gain over the reference where there are no single-task runs.
        meaning: a sentence.
        values: of the counted runs of each method.
    """

    name: str
    meaning: str
    values: Mapping[str, tuple[float, ...]]


def faults(run: RunRecord, measures: Sequence[Measure]) -> list[str]:
    """What is wrong with the metrics of a run: a phrase for each one that is missing or not finite.

    A run with a fault counts in no mean, and has the last rank among the runs with its seed.
    """
    phrases = []
    for column in (measure.column for measure in measures):
        if column not in run.metrics:
            phrases.append(f"`{column}` is missing")
        elif not math.isfinite(run.metrics[column]):
            phrases.append(f"`{column}` is {_word(run.metrics[column])}")
    return phrases


def _word(value: float) -> str:
    return "NaN" if math.isnan(value) else "infinite"


def counted_runs(results: Results, method: str) -> tuple[RunRecord, ...]:
    """The runs of a method whose metrics are all there and finite."""
    return tuple(run for run in results.runs_of(method) if not faults(run, results.measures))


def score(results: Results) -> tuple[Score | None, str]:
    """Delta_MTL of every counted run over the means of the single-task runs.

    Without single-task runs, it is the same formula over the means of the reference. Either way the
    baseline is one fixed number for each task: it moves all methods together.

    Returns:
        The score, or `None` with a sentence about what it takes.
    """
    tasks = [measure.task for measure in results.measures]
    if results.single_tasks:
        name = "Delta_MTL"
        meaning = "Delta_MTL is the mean improvement of the tasks over single-task runs in percent."
        samples = {task: results.single_tasks.get(task, []) for task in tasks}
    elif results.reference is not None:
        name = f"gain over {results.reference}"
        meaning = (
            "There are no single-task runs, hence no Delta_MTL. The gain is the mean improvement of"
            f" the tasks over the mean of `{results.reference}` in percent."
        )
        runs = counted_runs(results, results.reference)
        samples = {
            measure.task: [run.metrics[measure.column] for run in runs]
            for measure in results.measures
        }
    else:
        return None, "There are neither single-task runs nor a reference, hence no Delta_MTL."
    if waiting := [task for task in tasks if not samples[task]]:
        return None, f"There is no {name} yet: no finished baseline of {', '.join(waiting)}."
    baselines = {task: float(np.mean(values)) for task, values in samples.items()}
    if useless := {task: mean for task, mean in baselines.items() if not 0 < mean < math.inf}:
        found = ", ".join(f"{task}: {mean:g}" for task, mean in useless.items())
        return None, f"There is no {name}: baselines should be positive and finite. Found {found}."
    return Score(name, meaning, _improvements(results, baselines)), ""


def _improvements(results: Results, baselines: Mapping[str, float]) -> dict[str, tuple[float, ...]]:
    directions = {measure.task: measure.higher_is_better for measure in results.measures}
    columns = {measure.task: measure.column for measure in results.measures}
    return {
        method: tuple(
            float(
                multi_task_performance(
                    {task: run.metrics[column] for task, column in columns.items()},
                    baselines,
                    directions,
                )
            )
            for run in counted_runs(results, method)
        )
        for method in results.methods
    }
