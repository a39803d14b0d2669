"""Comparing runs: a table of their last validation metrics, with mean and spread over seeds."""

import csv
import statistics
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lightning_mtl.metrics import multi_task_performance

Results = dict[str, float]


def read_results(folder: Path) -> Results:
    """The last value of every `val/...` and `test/...` column of a run's `metrics.csv`.

    Raises:
        FileNotFoundError: if there is no such file below the folder.
        ValueError: if there are several: the folder holds more than one run.
    """
    found = sorted(folder.rglob("metrics.csv"))
    if not found:
        raise FileNotFoundError(
            f"`{folder}` should be the folder of a run, with a `metrics.csv` of Lightning's"
            " `CSVLogger` in or below it. Found none."
        )
    if len(found) > 1:
        raise ValueError(
            f"`{folder}` should hold one run. Found {len(found)}:"
            f" {', '.join(str(path) for path in found[:4])}. Name the folder of one version."
        )
    last: Results = {}
    with found[0].open(newline="") as file:
        for row in csv.DictReader(file):
            for key, value in row.items():
                if key.startswith(("val/", "test/")) and value:
                    last[key] = float(value)
    return last


def group_runs(runs: Sequence[str]) -> dict[str, list[Results]]:
    """Runs by the name in front of their folder: `name=folder`, or the folder as it is given."""
    groups: dict[str, list[Results]] = {}
    for run in runs:
        name, _, folder = run.rpartition("=")
        groups.setdefault(name or folder, []).append(read_results(Path(folder)))
    return groups


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
) -> None:
    """Show the last metrics of several runs side by side.

    Args:
        runs: folders of runs, each with a `metrics.csv`; `name=folder` puts runs with the same name
            (seeds, say) into one row with mean and standard deviation. Others have rows of their
            own.
        metrics: columns to show, such as `val/depth/RMSE`; by default all that every run has.
        baselines: single-task results by column; adds a column Delta_MTL.
        higher_is_better: which columns of `baselines` are better when higher.

    Raises:
        ValueError: if a run lacks one of the columns.
    """
    groups = group_runs(runs)
    everything = [set(results) for group in groups.values() for results in group]
    common = set.intersection(*everything)
    columns = metrics or sorted(common)
    missing = [column for column in [*columns, *(baselines or {})] if column not in common]
    if missing:
        raise ValueError(
            f"Every run should have the columns {missing}. Found in all of them: {sorted(common)}."
        )
    table = Table(title="Runs: mean ± standard deviation over seeds", title_justify="left")
    for column in ("run", "seeds", *columns, *(["delta_mtl (%)"] if baselines else [])):
        table.add_column(column, justify="left" if column == "run" else "right", overflow="fold")
    for name, group in groups.items():
        cells = [_spread([results[column] for results in group]) for column in columns]
        if baselines:
            directions = {metric: metric in (higher_is_better or []) for metric in baselines}
            cells.append(_spread([delta_mtl(results, baselines, directions) for results in group]))
        table.add_row(name, str(len(group)), *cells)
    Console().print(table)


def _spread(values: Sequence[float]) -> str:
    mean = statistics.fmean(values)
    return f"{mean:.4g} ± {statistics.stdev(values):.2g}" if len(values) > 1 else f"{mean:.4g}"
