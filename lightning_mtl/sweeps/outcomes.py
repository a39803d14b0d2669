"""What the runs of a sweep have come to, read from its folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from lightning_mtl.answers.records import Measure, Results, RunRecord
from lightning_mtl.metrics.performance import multi_task_performance
from lightning_mtl.sweeps.files import write_whole
from lightning_mtl.sweeps.methods import Method
from lightning_mtl.sweeps.plan import Choice, Plan, Run

RUNS = "runs"
"""The folder of all runs within that of the sweep."""

FILE = "outcome.json"
CONFIGS = "configs"


@dataclass(frozen=True)
class Outcome:
    """What a run that ended has come to.

    Args:
        metrics: the last value of each validation metric; empty if the run failed.
        choice: learning-rate factor and point of the grid.
        seconds: that the run took, its start included.
        step_seconds: median of a training batch.
        peak_bytes: the most memory in use.
        failure: the last lines of the log of a run that failed.
        warnings: of this package, in the log.
    """

    metrics: Mapping[str, float]
    choice: Choice
    seconds: float
    step_seconds: float | None = None
    peak_bytes: float | None = None
    failure: str | None = None
    warnings: Sequence[str] = ()


def folder_of(sweep: Path, run: Run) -> Path:
    """Where a run has its files."""
    return sweep / RUNS / run.key


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Note in the folder of a run that it has ended."""
    write_whole(folder / FILE, json.dumps(asdict(outcome), indent=1))


def read_outcome(folder: Path) -> Outcome | None:
    """What a run has come to; `None` while it has not ended."""
    if not (folder / FILE).is_file():
        return None
    values = json.loads((folder / FILE).read_text(encoding="utf-8"))
    choice, warnings = Choice(**values["choice"]), tuple(values.get("warnings", ()))
    return Outcome(**(values | {"choice": choice, "warnings": warnings}))


def finished(sweep: Path, run: Run) -> Outcome | None:
    """The outcome of a run that succeeded."""
    outcome = read_outcome(folder_of(sweep, run))
    return None if outcome is None or outcome.failure is not None else outcome


def score(plan: Plan, run: Run, metrics: Mapping[str, float], sweep: Path) -> float:
    """What trials are chosen by: higher is better.

    For a single task it is its metric, with its sign. For all others it is Delta_MTL in percent
    over the means of the single tasks.

    Args:
        plan: of the sweep.
        run: that is judged.
        metrics: of it.
        sweep: the folder, in which the single tasks have ended.

    Raises:
        ValueError: if a metric is missing, or no run of a single task has succeeded.
    """
    if run.method.task is not None:
        measure = plan.measure_of(run.method.task)
        return _value(metrics, measure) * (1 if measure.higher_is_better else -1)
    values = {measure.task: _value(metrics, measure) for measure in plan.measures}
    baselines = {task: fmean(found) for task, found in single_task_values(plan, sweep).items()}
    if missing := sorted(values.keys() - baselines.keys()):
        raise ValueError(
            f"A sweep should have single-task runs of all tasks. Found none of {missing} that"
            f" succeeded. Look at their `log.txt` in `{sweep / RUNS}`."
        )
    directions = {measure.task: measure.higher_is_better for measure in plan.measures}
    return float(multi_task_performance(values, baselines, directions))


def single_task_values(plan: Plan, sweep: Path) -> dict[str, list[float]]:
    """The metric of each task over the seeds of its single-task runs that succeeded."""
    found: dict[str, list[float]] = {}
    for run in plan.judged(plan.single):
        if run.method.task is not None and (outcome := finished(sweep, run)) is not None:
            measure = plan.measure_of(run.method.task)
            found.setdefault(measure.task, []).append(_value(outcome.metrics, measure))
    return found


def _value(metrics: Mapping[str, float], measure: Measure) -> float:
    if measure.column not in metrics:
        raise ValueError(
            f"A run should log `{measure.column}` in its last validation. Found {sorted(metrics)}."
            " Look at its `log.txt`."
        )
    return metrics[measure.column]


def best_choice(plan: Plan, method: Method, sweep: Path) -> Choice:
    """What the best trial of a method had; the first of the best where several are alike.

    Raises:
        ValueError: if no trial succeeded.
    """
    trials = plan.trials(method)
    if not trials:
        return plan.choices(method)[0]
    scores = [
        (score(plan, trial, outcome.metrics, sweep), -number, trial.choice)
        for number, trial in enumerate(trials)
        if (outcome := finished(sweep, trial)) is not None
    ]
    # A run that diverged may have metrics that are no numbers: it is no better than any other.
    ranked = sorted(scores, key=lambda each: (each[0] == each[0], each[0], each[1]))
    if not ranked:
        raise ValueError(
            f"At least one trial of `{method.name}` should succeed. Found none that did. Look at"
            f" `log.txt` in `{folder_of(sweep, trials[0]).parent}`."
        )
    choice = ranked[-1][2]
    assert choice is not None
    return choice


def results(sweep: Path) -> Results:
    """All that a sweep has come to so far, for tables and pictures.

    Args:
        sweep: its folder.

    Raises:
        FileNotFoundError: if it is no sweep's.
        ValueError: if no run of it has finished.
    """
    plan = Plan.load(sweep)
    ended = {run.key: read_outcome(folder_of(sweep, run)) for run in plan.runs()}
    records = []
    for method, seed in product(plan.compared, plan.seeds):
        run = Run(method, seed)
        outcome = ended[run.key]
        if outcome is not None and outcome.failure is None:
            records.append(_record(sweep, run, outcome))
    if not records:
        raise ValueError(
            f"A sweep should have finished runs of a weighting. Found none in `{sweep}`."
            " Start it again: it goes on where it stopped."
        )
    single = single_task_values(plan, sweep)
    complete = len(single) == len(plan.measures)
    names = {record.method for record in records}
    return Results(
        name=sweep.name,
        measures=plan.measures,
        runs=tuple(records),
        single_tasks=single if complete else {},
        reference=plan.reference if plan.reference in names else None,
        failed=tuple(
            f"{key}: {outcome.failure}"
            for key, outcome in ended.items()
            if outcome is not None and outcome.failure is not None
        ),
        missing=sum(outcome is None for outcome in ended.values()),
        notes=(*_notes(plan, sweep), *_at_the_edge(plan, ended), *_warnings(plan, ended)),
    )


def _record(sweep: Path, run: Run, outcome: Outcome) -> RunRecord:
    return RunRecord(
        method=run.method.name,
        seed=run.seed,
        metrics=outcome.metrics,
        folder=folder_of(sweep, run),
        step_seconds=outcome.step_seconds,
        peak_bytes=outcome.peak_bytes,
        settings=_settings(run, outcome.choice),
    )


def _settings(run: Run, choice: Choice) -> dict[str, Any]:
    settings: dict[str, Any] = {"learning rate": f"{choice.learning_rate:g} x"}
    if run.method.grid:
        settings["weights"] = ", ".join(
            f"{task} {weight:g}" for task, weight in run.method.grid[choice.weights].items()
        )
    return settings


def _at_the_edge(plan: Plan, ended: Mapping[str, Outcome | None]) -> list[str]:
    """A sentence on methods whose learning rate was the largest or the smallest of those tried."""
    chosen = {
        run.method.name: outcome.choice.learning_rate
        for run in plan.judged(plan.compared)
        if (outcome := ended[run.key]) is not None and outcome.failure is None
    }
    found = []
    for kind, rate in (
        ("largest", max(plan.learning_rates)),
        ("smallest", min(plan.learning_rates)),
    ):
        names = [name for name, choice in chosen.items() if choice == rate]
        if names and len(plan.learning_rates) > 1:
            found.append(
                f"The {kind} learning rate that was tried, {rate:g} x, was the best of"
                f" {', '.join(names)}: rates beyond it might change their results."
            )
    return found


def _warnings(plan: Plan, ended: Mapping[str, Outcome | None]) -> list[str]:
    """What the judged runs have warned of, once for each method."""
    found: dict[str, None] = {}
    for run in plan.judged(plan.compared):
        outcome = ended[run.key]
        for warning in () if outcome is None else outcome.warnings:
            found[f"{run.method.name} warned: {warning}"] = None
    return list(found)


def _notes(plan: Plan, sweep: Path) -> tuple[str, ...]:
    """How the runs were made, in sentences."""
    config = yaml.safe_load((sweep / CONFIGS / "sweep.yaml").read_text(encoding="utf-8"))
    trainer = config.get("trainer") or {}
    epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps")
    budget = f"{steps} steps" if not epochs and steps else f"{epochs} epochs"
    rates = ", ".join(f"{rate:g}" for rate in plan.learning_rates)
    notes = [
        f"Every run trains for {budget}. All numbers are of the last validation; the test split"
        " was not looked at.",
        f"Each method is judged by the seeds {', '.join(map(str, plan.seeds))}.",
    ]
    if len(plan.learning_rates) > 1:
        notes.append(
            f"Each method first had one trial for each of the learning rates {rates} times that of"
            " the config, with a seed of its own; the best Delta_MTL was kept."
        )
    if any(method.grid for method in plan.methods):
        notes.append(
            "Scalarisation chooses its fixed weights from a grid as well, with all these learning"
            " rates at each point; so it has more trials than any other method."
        )
    notes += [
        "Single tasks are trained by the same network, with weight 0 for all other losses.",
        "Step times are medians of runs that shared their machine with others: small differences"
        " say nothing.",
    ]
    return tuple(notes)
