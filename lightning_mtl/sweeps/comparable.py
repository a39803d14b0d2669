"""Runs of a sweep beside others: what `compare` takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from lightning_mtl.sweeps.outcomes import finished, folder_of, single_task_values
from lightning_mtl.sweeps.plan import FILE, Plan, Run


def is_sweep(folder: Path) -> bool:
    """Whether a folder is that of a sweep."""
    return (folder / FILE).is_file()


def expanded(runs: Sequence[str]) -> list[str]:
    """The runs, with the judged runs of a sweep in place of its folder.

    Args:
        runs: as `compare` takes them: folders, or `name=folder`. Methods of a sweep that is given
            as `name=folder` have the name in front of theirs.

    Returns:
        The same, with `method=folder` for each finished run of the sweeps.

    Raises:
        ValueError: if no run of a sweep has finished.
    """
    found: list[str] = []
    for run in runs:
        name, _, folder = ("", "", run) if Path(run).exists() else run.partition("=")
        if is_sweep(sweep := Path(folder)):
            found += _judged(sweep, f"{name} " if name else "")
        else:
            found.append(run)
    return found


@dataclass(frozen=True)
class Baselines:
    """Single-task results of a sweep.

    Args:
        means: over seeds, by metric.
        higher: the metrics that are better when higher.
        lower: those that are better when lower.
    """

    means: dict[str, float]
    higher: list[str]
    lower: list[str]


def baselines_of(runs: Sequence[str]) -> Baselines | None:
    """The single-task results of the only sweep among the runs; `None` if there are no such.

    Args:
        runs: as `compare` takes them.
    """
    folders = [Path(run if Path(run).exists() else run.partition("=")[2]) for run in runs]
    sweeps = [folder for folder in folders if is_sweep(folder)]
    if len(sweeps) != 1:
        return None
    plan = Plan.load(sweeps[0])
    single = single_task_values(plan, sweeps[0])
    if len(single) < len(plan.measures):
        return None
    return Baselines(
        means={measure.column: fmean(single[measure.task]) for measure in plan.measures},
        higher=[measure.column for measure in plan.measures if measure.higher_is_better],
        lower=[measure.column for measure in plan.measures if not measure.higher_is_better],
    )


def _judged(sweep: Path, prefix: str) -> list[str]:
    plan = Plan.load(sweep)
    found = [
        f"{prefix}{method.name}={folder_of(sweep, run)}"
        for method in plan.compared
        for run in (Run(method, seed) for seed in plan.seeds)
        if finished(sweep, run) is not None
    ]
    if not found:
        raise ValueError(
            f"The sweep `{sweep}` should have finished runs of a weighting. Found none. Start it"
            " again: it goes on where it stopped."
        )
    return found
