"""A sweep on a cluster: submitit starts the workers, which share the folder and the database."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

LAUNCHERS = ("local", "slurm")


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

    Raises:
        ModuleNotFoundError: if submitit is not installed.
    """
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "`--launcher` should have submitit at hand. Found no such package. Install it by"
            " `pip install 'lightning_mtl[cluster]'`."
        ) from error
    executor = submitit.AutoExecutor(folder=folder / "submitit", cluster=launcher)
    executor.update_parameters(name="lightning-mtl", **settings)
    command = submitit.helpers.CommandFunction(
        ["python", "-m", "lightning_mtl.cli", "sweep", *arguments], verbose=True
    )
    with executor.batch():
        jobs = [executor.submit(command) for _ in range(nodes)]
    return [job.result() for job in jobs]
