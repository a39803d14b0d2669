"""A sweep on a cluster: submitit starts the workers, which share the folder and the database."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LAUNCHERS = ("local", "slurm")

DAY = 24 * 60
"""Minutes after which a worker is ended by default; submitit's own default is five."""


def launch(
    launcher: str, arguments: Sequence[str], folder: Path, nodes: int, settings: dict[str, Any]
) -> list[Any]:
    """Submit jobs that work on one sweep, and wait for them.

    Args:
        launcher: "slurm", or "local" for processes of this machine.
        arguments: of `lightning-mtl sweep` for each job.
        folder: of the sweep, which all machines can read and write; submitit logs in it.
        nodes: the number of jobs.
        settings: of submitit's executor, such as `slurm_partition` and `timeout_min`.

    Returns:
        What each job has printed.

    Raises:
        ModuleNotFoundError: if submitit is not installed.
        ValueError: if a job fails.
    """
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "`--launcher` should have submitit at hand. Found no such package. Install it by"
            " `pip install 'lightning_mtl[cluster]'`."
        ) from error
    executor = submitit.AutoExecutor(folder=folder / "submitit", cluster=launcher)
    executor.update_parameters(**{"name": "lightning-mtl", "timeout_min": DAY, **settings})
    command = submitit.helpers.CommandFunction(
        [sys.executable, "-m", "lightning_mtl.cli", "sweep", *arguments], verbose=True
    )
    with executor.batch():
        jobs = [executor.submit(command) for _ in range(nodes)]
    try:
        return [job.result() for job in jobs]
    except submitit.core.utils.UncompletedJobError as error:
        raise ValueError(
            "Every worker of a sweep should end without an error. Found one that did not. Look at"
            f" its log in `{folder / 'submitit'}`."
        ) from error
