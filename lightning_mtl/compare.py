"""Comparing runs: a table of their last validation metrics, with mean and spread over seeds."""

import csv
import inspect
import re
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lightning_mtl import metrics as metric_module
from lightning_mtl.metrics import multi_task_performance
from lightning_mtl.metrics.pooled import PooledMetric

Results = dict[str, float]

LOSS = re.compile(r"(val|test)/(loss/.*|total_loss)$")
"""Columns of losses, which depend on the weighting and are no metrics."""


def read_results(folder: Path) -> Results:
    """The last value of every `val/...` and `test/...` column of a run's `metrics.csv`.

    What `lightning-mtl test` found for a checkpoint of the run counts, too; the last test wins.

    Raises:
        FileNotFoundError: if there is no such file below the folder.
        ValueError: if there are several: the folder holds more than one run.
    """
    files = sorted(folder.rglob("metrics.csv"))
    # Tests of a run lie within its folder.
    files = [file for file in files if file.parents[1] / file.name not in files]
    if not files:
        raise FileNotFoundError(
            f"`{folder}` should be the folder of a run, with a `metrics.csv` of Lightning's"
            " `CSVLogger` in or below it. Found none."
        )
    if len(files) > 1:
        raise ValueError(
            f"`{folder}` should hold one run. Found {len(files)}:"
            f" {', '.join(str(path) for path in files[:4])}. Name the folder of one version."
        )
    tests = sorted(files[0].parent.glob("test*/metrics.csv"), key=lambda path: path.stat().st_mtime)
    return _last_values(files[0]) | (_last_values(tests[-1]) if tests else {})


def group_runs(runs: Sequence[str]) -> dict[str, list[Results]]:
    """Runs by the name in front of their folder: `name=folder`, or the folder as it is given."""
    groups: dict[str, list[Results]] = {}
    for run in runs:
        # A folder may have the sign in its own name.
        name, _, folder = (run, "", run) if Path(run).exists() else run.partition("=")
        groups.setdefault(name, []).append(read_results(Path(folder or run)))
    return groups


def metric_kinds() -> list[type[PooledMetric]]:
    """The classes of metrics of the package that have names before there is an object."""
    kinds = (getattr(metric_module, name) for name in metric_module.__all__)
    classes = [kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, PooledMetric)]
    # Base classes, and metrics that are named after their arguments, have none of their own.
    return [kind for kind in classes if "directions" in vars(kind)]


def known_directions() -> dict[str, bool]:
    """Whether higher is better, for the name of every metric of the package."""
    directions = {"delta_mtl": True}
    for kind in metric_kinds():
        directions |= kind.directions
    return directions


def directions_of(
    columns: Iterable[str], higher: Sequence[str] = (), lower: Sequence[str] = ()
) -> dict[str, bool]:
    """Whether higher is better, for each column; those of the package are known by their names.

    Args:
        columns: such as `val/depth/RMSE`.
        higher: columns that are better when higher.
        lower: columns that are better when lower.

    Raises:
        ValueError: if a column has no known direction, or a given one is of no column.
    """
    columns = list(columns)
    given = dict.fromkeys(higher, True) | dict.fromkeys(lower, False)
    if unused := [column for column in given if column not in columns]:
        raise ValueError(
            f"`higher_is_better` and `lower_is_better` should name some of {columns}. Found"
            f" {unused}."
        )
    names = known_directions()
    directions = {column: given.get(column, names.get(_metric(column))) for column in columns}
    if unknown := [column for column, direction in directions.items() if direction is None]:
        raise ValueError(
            "The direction of every metric should be known, as it is of those of this package."
            f" Found {unknown}. Name each of them in `higher_is_better` or in `lower_is_better`."
        )
    return {column: bool(direction) for column, direction in directions.items()}


def primary(columns: Iterable[str]) -> list[str]:
    """One column of each task, and every column of a task whose metrics are not of this package.

    Losses are left out where there are metrics.
    """
    columns = sorted(columns)
    tasks: dict[str, list[str]] = {}
    for column in [column for column in columns if not LOSS.match(column)] or columns:
        task, _, name = column.rpartition("/")
        tasks.setdefault(task, []).append(name)
    chosen = []
    for task, names in tasks.items():
        # Which metrics a task has is not in the log: those that share the most names with it.
        kind = max(metric_kinds(), key=lambda kind: len(kind.directions.keys() & set(names)))
        best = [name for name in kind.primary if name in names][:1]
        chosen += [f"{task}/{name}" for name in best or names]
    return chosen


def delta_mtl(results: Results, baselines: Results, directions: dict[str, bool]) -> float:
    """Delta_MTL in percent over the metrics in `directions`."""
    chosen = {metric: results[metric] for metric in directions}
    against = {metric: baselines[metric] for metric in directions}
    return float(multi_task_performance(chosen, against, directions))


def compare(
    runs: list[str],
    metrics: list[str] | None = None,
    baselines: dict[str, float] | None = None,
    higher_is_better: list[str] | None = None,
    lower_is_better: list[str] | None = None,
    all_metrics: bool = False,
) -> None:
    """Show the last metrics of several runs side by side.

    Args:
        runs: folders of runs, each with a `metrics.csv`; `name=folder` puts runs with the same name
            (seeds, say) into one column with mean and standard deviation. Others have columns of
            their own.
        metrics: what to show, such as `val/depth/RMSE`; by default the primary metric of each task.
        baselines: single-task results by metric; adds Delta_MTL over these.
        higher_is_better: which of `baselines` are better when higher, of metrics that are not of
            this package.
        lower_is_better: which of them are better when lower.
        all_metrics: show all that every run has.

    Raises:
        ValueError: if a run lacks one of the metrics, or the direction of a baseline is not known.
    """
    groups = group_runs(runs)
    common = set.intersection(*(set(results) for group in groups.values() for results in group))
    shown = metrics or (sorted(common) if all_metrics else primary(common))
    missing = [column for column in [*shown, *(baselines or {})] if column not in common]
    if not common:
        raise ValueError(
            "The runs should have some `val/` or `test/` metric in common. Found none."
        )
    if missing:
        raise ValueError(
            f"Every run should have the metrics {missing}. Found in all of them: {sorted(common)}."
        )
    directions = directions_of(baselines or {}, higher_is_better or (), lower_is_better or ())
    several = any(len(group) > 1 for group in groups.values())
    title = "Runs: mean ± standard deviation over seeds" if several else "Runs"
    table = Table(title=title, title_justify="left")
    table.add_column("metric", overflow="fold")
    for name in ("better", *groups):
        table.add_column(name, justify="right", overflow="fold")
    if several:
        table.add_row("seeds", "", *(str(len(group)) for group in groups.values()))
    names = known_directions()
    for column in shown:
        direction = directions.get(column, names.get(_metric(column)))
        better = {True: "higher", False: "lower", None: ""}[direction]
        spreads = [_spread([results[column] for results in group]) for group in groups.values()]
        table.add_row(column, better, *spreads)
    if baselines:
        deltas = [
            _spread([delta_mtl(results, baselines, directions) for results in group])
            for group in groups.values()
        ]
        table.add_row("delta_mtl (%)", "higher", *deltas)
    Console().print(table)


def _last_values(file: Path) -> Results:
    last: Results = {}
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            for key, value in row.items():
                if key.startswith(("val/", "test/")) and value:
                    last[key] = float(value)
    return last


def _metric(column: str) -> str:
    return column.rpartition("/")[2]


def _spread(values: Sequence[float]) -> str:
    mean = statistics.fmean(values)
    return f"{mean:.4g} ± {statistics.stdev(values):.2g}" if len(values) > 1 else f"{mean:.4g}"
