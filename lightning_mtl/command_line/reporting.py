"""What `compare` shows: a table of runs, or the whole answer of a sweep, and a report."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from lightning_mtl.answers.answer import answer
from lightning_mtl.answers.records import Measure, Results, RunRecord
from lightning_mtl.answers.tables import terminal
from lightning_mtl.answers.words import verdict
from lightning_mtl.answers.writing import write_answer
from lightning_mtl.compare import compare, directions_of, group_runs, primary
from lightning_mtl.sweeps.comparable import baselines_of, expanded, is_sweep
from lightning_mtl.sweeps.outcomes import results

REPORT = "report"
"""The folder of the report within that of a sweep."""


def show_comparison(
    runs: list[str],
    metrics: list[str] | None,
    all_metrics: bool,
    baselines: dict[str, float] | None,
    higher_is_better: list[str] | None,
    lower_is_better: list[str] | None,
    report: Path | None,
) -> None:
    """Show runs side by side; the folder of a sweep alone shows its whole answer.

    Args:
        runs: folders of runs or of sweeps, or `name=folder`.
        metrics: what to show; by default the primary metric of each task.
        all_metrics: whether to show all that every run has.
        baselines: single-task results by metric; by default those of the only sweep.
        higher_is_better: which baselines are better when higher, of metrics of the user's own.
        lower_is_better: which of them are better when lower.
        report: where to write the report; by default within the folder of a sweep.

    Raises:
        ValueError: if runs cannot be compared.
    """
    console = Console()
    if len(runs) == 1 and is_sweep(sweep := Path(runs[0])) and not (metrics or all_metrics):
        show_answer(results(sweep), report or sweep / REPORT, console)
        return
    higher, lower = list(higher_is_better or []), list(lower_is_better or [])
    if baselines is None and (found := baselines_of(runs)) is not None:
        baselines = found.means
        higher += [column for column in found.higher if column not in lower + higher]
        lower += [column for column in found.lower if column not in lower + higher]
    runs = expanded(runs)
    compare(runs, metrics, baselines, higher, lower, all_metrics)
    if report is not None:
        show_answer(_results(runs, metrics, baselines, higher, lower), report, console)


def show_answer(found: Results, folder: Path, console: Console) -> None:
    """Print the answer, and write its report.

    Args:
        found: the runs of all methods.
        folder: of the report.
        console: where to print.
    """
    said = answer(found)
    for sentence in verdict(said):
        console.print(sentence, highlight=False, markup=False)
    for table in terminal(said):
        console.print(table)
    for path in write_answer(said, folder):
        if path.suffix == ".html":
            console.print(f"The report is {path}", soft_wrap=True, highlight=False, markup=False)


def _results(
    runs: list[str],
    metrics: list[str] | None,
    baselines: Mapping[str, float] | None,
    higher: list[str],
    lower: list[str],
) -> Results:
    """Plain runs in the form of a sweep's results: the runs of a name are its seeds."""
    groups = group_runs(runs)
    common = set.intersection(*(set(found) for group in groups.values() for found in group))
    columns = metrics or primary(common)
    given = ([each for each in side if each in columns] for side in (higher, lower))
    directions = directions_of(columns, *given)
    tasks = [column.rpartition("/")[0].partition("/")[2] or column for column in columns]
    # A task of which several metrics are shown is told apart by these.
    names = [
        task if tasks.count(task) == 1 else column
        for task, column in zip(tasks, columns, strict=True)
    ]
    measures = [
        Measure(name, column, directions[column])
        for name, column in zip(names, columns, strict=True)
    ]
    single = {
        measure.task: [baselines[measure.column]]
        for measure in measures
        if baselines and measure.column in baselines
    }
    return Results(
        name="Comparison of runs",
        measures=tuple(measures),
        runs=tuple(
            RunRecord(name, seed, found, Path(folder))
            for name, group in groups.items()
            for seed, (found, folder) in enumerate(zip(group, _folders(runs, name), strict=True))
        ),
        single_tasks=single if len(single) == len(measures) else {},
        notes=("The runs are those of the folders that were given.",),
    )


def _folders(runs: list[str], name: str) -> list[str]:
    """The folders of the runs of a name, in the order in which `group_runs` has them."""
    pairs = [(run, run) if Path(run).exists() else run.split("=", 1) for run in runs]
    return [folder or run for run, folder in pairs if run == name]
