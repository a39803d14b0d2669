"""The statistics of finished runs: the one place that tables, words and figures read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from statistics import median
from typing import Any

from lightning_mtl.answers.ranking import Ranking, ranking
from lightning_mtl.answers.records import Measure, Results, RunRecord
from lightning_mtl.answers.scores import Score, counted_runs, faults, score
from lightning_mtl.statistics import (
    Difference,
    Interval,
    compare_pairs,
    compare_with,
    mean_interval,
)


@dataclass(frozen=True)
class MethodSummary:
    """What the runs of one method say.

    Args:
        method: its name.
        runs: those that count: all metrics are there and finite.
        tasks: the metric of each task over the seeds.
        columns: every column that all of these runs have, over the seeds.
        score: Delta_MTL, or the gain over the reference; `None` without baselines.
        step_time: median over runs, in relation to the reference; `None` if it was not measured.
        memory: the same of the peak of memory.
        settings: what was chosen for the method.
    """

    method: str
    runs: tuple[RunRecord, ...]
    tasks: Mapping[str, Interval]
    columns: Mapping[str, Interval]
    score: Interval | None
    step_time: float | None
    memory: float | None
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """What all runs say.

    Args:
        name: the title.
        level: of the intervals and tests.
        measures: one for each task.
        methods: a summary of each.
        reference: the method that gains and costs are relative to.
        single_tasks: each task over the seeds of its single-task runs.
        score: what the methods are compared by; `None` without baselines.
        ranking: mean ranks; `None` if they cannot be told.
        pairs: the differences in score of all pairs of methods.
        to_reference: those of all methods from the reference.
        by_task: the differences of each task from the reference, or of all pairs without one. The
            tests are corrected for the number of tasks, too.
        excluded: sentences about runs that do not count.
        remarks: sentences about statistics that are not there.
        failed: sentences about runs that failed.
        missing: the number of planned runs that have not finished.
        notes: sentences about how the runs were made.
    """

    name: str
    level: float
    measures: tuple[Measure, ...]
    methods: tuple[MethodSummary, ...]
    reference: str | None
    single_tasks: Mapping[str, Interval]
    score: Score | None
    ranking: Ranking | None
    pairs: tuple[Difference, ...]
    to_reference: tuple[Difference, ...]
    by_task: Mapping[str, tuple[Difference, ...]]
    excluded: tuple[str, ...]
    remarks: tuple[str, ...]
    failed: tuple[str, ...]
    missing: int
    notes: tuple[str, ...]

    def summary(self, method: str) -> MethodSummary:
        """The summary of one method."""
        return next(summary for summary in self.methods if summary.method == method)


def answer(results: Results, level: float = 0.95) -> Answer:
    """The statistics of finished runs.

    Args:
        results: of all methods; unfinished sweeps are welcome.
        level: of the intervals and tests.
    """
    found, remark = score(results)
    scores = {} if found is None else {name: each for name, each in found.values.items() if each}
    pairs = compare_pairs(scores, level) if scores else []
    return Answer(
        name=results.name,
        level=level,
        measures=results.measures,
        methods=tuple(_summary(results, method, scores, level) for method in results.methods),
        reference=results.reference,
        single_tasks={
            task: mean_interval(values, level)
            for task, values in results.single_tasks.items()
            if values
        },
        score=found,
        ranking=ranking(results, level),
        pairs=tuple(pairs),
        to_reference=_differences(results.reference, scores, level) if scores else (),
        by_task=_by_task(results, level),
        excluded=tuple(_excluded(results)),
        remarks=(remark,) if remark else (),
        failed=results.failed,
        missing=results.missing,
        notes=results.notes,
    )


def _summary(
    results: Results, method: str, scores: Mapping[str, Sequence[float]], level: float
) -> MethodSummary:
    runs = counted_runs(results, method)
    shared = [name for name in runs[0].metrics if _finite_in_all(name, runs)] if runs else []
    columns = {name: mean_interval([run.metrics[name] for run in runs], level) for name in shared}
    return MethodSummary(
        method=method,
        runs=runs,
        tasks={each.task: columns[each.column] for each in results.measures} if runs else {},
        columns=columns,
        score=mean_interval(scores[method], level) if method in scores else None,
        step_time=_ratio(results, method, "step_seconds"),
        memory=_ratio(results, method, "peak_bytes"),
        settings=dict(results.runs_of(method)[0].settings),
    )


def _finite_in_all(column: str, runs: Sequence[RunRecord]) -> bool:
    return all(isfinite(run.metrics.get(column, nan)) for run in runs)


def _ratio(results: Results, method: str, cost: str) -> float | None:
    """The median cost of a method's runs over that of the reference's, faulty runs included."""
    medians = []
    for name in (method, results.reference):
        runs = results.runs_of(name) if name is not None else ()
        values = [value for run in runs if (value := getattr(run, cost)) is not None]
        if not values:
            return None
        medians.append(median(values))
    return medians[0] / medians[1] if medians[1] else None


def _differences(
    reference: str | None, samples: Mapping[str, Sequence[float]], level: float
) -> tuple[Difference, ...]:
    if reference is None or reference not in samples:
        return ()
    return tuple(compare_with(reference, samples, level))


def _by_task(results: Results, level: float) -> dict[str, tuple[Difference, ...]]:
    """Differences within each task; Bonferroni's correction shares the errors among the tasks."""
    strict = 1 - (1 - level) / len(results.measures)
    found = {}
    for measure in results.measures:
        samples = {
            method: [run.metrics[measure.column] for run in runs]
            for method in results.methods
            if (runs := counted_runs(results, method))
        }
        found[measure.task] = (
            tuple(compare_pairs(samples, strict) if samples else ())
            if results.reference is None
            else _differences(results.reference, samples, strict)
        )
    return found


def _excluded(results: Results) -> list[str]:
    """A sentence for each run that has metrics which are missing or not finite."""
    return [
        f"`{run.method}` with seed {run.seed} does not count: {', '.join(phrases)}"
        f" (`{run.folder}`)."
        for run in results.runs
        if (phrases := faults(run, results.measures))
    ]
