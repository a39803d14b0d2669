"""What an answer is made from: the runs of several methods, and how their tasks are measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Measure:
    """The metric by which a task is judged.

    Args:
        task: such as `depth`.
        column: of `metrics.csv`, such as `val/depth/RMSE`.
        higher_is_better: the direction of the metric.
    """

    task: str
    column: str
    higher_is_better: bool

    @property
    def title(self) -> str:
        """The task and its metric, such as `depth RMSE`."""
        name = self.column.rpartition("/")[2]
        return name if name == self.task else f"{self.task} {name}"

    @property
    def arrow_title(self) -> str:
        """The title with an arrow in the direction that is better."""
        return f"{self.title}\N{NO-BREAK SPACE}{'↑' if self.higher_is_better else '↓'}"


@dataclass(frozen=True)
class RunRecord:
    """One finished run of a method.

    Args:
        method: such as `equal`.
        seed: of the run. Runs with the same seed are compared with each other.
        metrics: the last value of each column of its `metrics.csv`.
        folder: where the run wrote its files.
        step_seconds: median seconds of an optimizer step; `None` if it was not measured.
        peak_bytes: the most memory that was in use; `None` if it was not measured.
        settings: what was chosen for the method, such as its learning-rate factor.
    """

    method: str
    seed: int
    metrics: Mapping[str, float]
    folder: Path
    step_seconds: float | None = None
    peak_bytes: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """The runs of all methods, and what they are compared with.

    Args:
        name: of the comparison: the title of the report.
        measures: one for each task.
        runs: of all methods, in the order of methods; one for each method and seed.
        single_tasks: the metric of every task over the seeds of its single-task runs. There is no
            Delta_MTL without them.
        reference: the method that gains and costs are relative to.
        failed: sentences about runs that failed.
        missing: the number of planned runs that have not finished.
        notes: sentences about how the runs were made: budget and selection.

    Raises:
        ValueError: if there is no run or no task, a task has two measures, a method has two runs
            with the same seed, or the reference has no run.
    """

    name: str
    measures: tuple[Measure, ...]
    runs: tuple[RunRecord, ...]
    single_tasks: Mapping[str, list[float]] = field(default_factory=dict)
    reference: str | None = None
    failed: tuple[str, ...] = ()
    missing: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.runs or not self.measures:
            raise ValueError(
                "`Results` should have at least one run and one measure. Found"
                f" {len(self.runs)} runs and {len(self.measures)} measures."
            )
        tasks = [measure.task for measure in self.measures]
        if len(set(tasks)) < len(tasks):
            raise ValueError(f"`Results` should have one measure for each task. Found {tasks}.")
        keys = [(run.method, run.seed) for run in self.runs]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise ValueError(
                "`Results` should have one run for each method and seed. Found several for"
                f" {twice}. Give settings of a method that differ names of their own."
            )
        if self.reference is not None and self.reference not in self.methods:
            raise ValueError(
                f"`reference` should be one of the methods {list(self.methods)}. Found"
                f" `{self.reference}`."
            )

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of the methods, in the order of their first runs."""
        return tuple(dict.fromkeys(run.method for run in self.runs))

    def runs_of(self, method: str) -> tuple[RunRecord, ...]:
        """The runs of one method."""
        return tuple(run for run in self.runs if run.method == method)
