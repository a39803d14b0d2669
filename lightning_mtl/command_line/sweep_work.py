"""What `lightning-mtl sweep` does: it works on a plan, or submits workers, and reports."""

import argparse
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import torch
import yaml
from optuna.exceptions import ExperimentalWarning
from rich.console import Console

from lightning_mtl.command_line.launcher_options import launcher_parser
from lightning_mtl.command_line.lightning_commands import run_command
from lightning_mtl.command_line.reporting import REPORT, show_answer
from lightning_mtl.command_line.sweep_plan import planned
from lightning_mtl.distributed import usable_cores
from lightning_mtl.sweeps.cluster import launch
from lightning_mtl.sweeps.configs import Config
from lightning_mtl.sweeps.files import write_whole
from lightning_mtl.sweeps.outcomes import CONFIGS, results
from lightning_mtl.sweeps.plan import FILE, Plan, merged
from lightning_mtl.sweeps.progress import Progress
from lightning_mtl.sweeps.queue import Queue
from lightning_mtl.sweeps.sweep import Slot, Sweep


def work(options: argparse.Namespace, rest: Sequence[str]) -> None:
    """Work on a sweep until it is done, and write its report.

    Args:
        options: of `sweep_parser`.
        rest: the options of `fit`.

    Raises:
        ValueError: if the sweep cannot be what was asked for.
    """
    # For all threads: what one of them does about warnings, others undo.
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    plan, configs = planned(options, rest)
    folder: Path = options.folder
    if (folder / FILE).is_file():
        plan = merged(Plan.load(folder), plan)
    folder.mkdir(parents=True, exist_ok=True)
    _keep_configs(folder, configs)
    plan.save(folder)
    queue = Queue(plan, options.study or f"sqlite:///{folder / 'study.db'}")
    if options.retry_failed:
        queue.retry_failed()
    runs = list(plan.runs())
    console = Console()
    slots = worker_slots(options.jobs)
    ended = queue.ended()
    progress = Progress(console, len(runs), ended, len(slots))
    console.print(_summary(plan, len(runs), ended, folder), highlight=False)
    try:
        with progress.shown():
            Sweep(plan, configs, folder, queue, slots, fit, progress).run()
        executed = queue.executions()
    finally:
        queue.close()
    console.print(
        f"{len(runs)} runs were planned, and {executed} were executed in all.", highlight=False
    )
    show_answer(results(folder), folder / REPORT, console)


def fit(arguments: Sequence[str]) -> None:
    """Train one run, called in a process of its own.

    As a program, this file does the same: so Lightning starts the run's processes on more devices.
    """
    run_command(list(arguments))


def launch_workers(options: argparse.Namespace, arguments: list[str]) -> None:
    """Submit workers that do the same without a launcher, and wait for them.

    Args:
        options: of `sweep_parser`.
        arguments: all of the command.
    """
    _, kept = launcher_parser().parse_known_args(arguments)
    settings = dict(_setting(each) for each in options.launcher_settings)
    launch(options.launcher, kept, options.folder, options.nodes, settings)


def worker_slots(jobs: int | None) -> list[Slot]:
    """Where runs are executed side by side: each has a GPU, or its share of the cores.

    Args:
        jobs: the number of runs; by default one for each GPU, or for each two cores without one.
    """
    devices = torch.cuda.device_count()
    count = jobs or devices or max(1, usable_cores() // 2)
    threads = max(1, usable_cores() // count)
    return [Slot(threads, number % devices if devices > 1 else None) for number in range(count)]


def _keep_configs(folder: Path, configs: dict[str, Config]) -> None:
    """Write the configs into the folder, or raise if a sweep there has others.

    Raises:
        ValueError: if there is another config of one of these names.
    """
    for name, config in configs.items():
        path = folder / CONFIGS / f"{name or 'sweep'}.yaml"
        if path.is_file():
            old = yaml.safe_load(path.read_text(encoding="utf-8"))
            if old != yaml.safe_load(yaml.safe_dump(config)):
                raise ValueError(
                    f"A sweep that is started again should have the same config. Found another than"
                    f" `{path}`. Give another `--folder`."
                )
        else:
            write_whole(path, yaml.safe_dump(config, sort_keys=False))


def _summary(plan: Plan, total: int, ended: int, folder: Path) -> str:
    trials = sum(run.choice is not None for run in plan.runs())
    before = f", of which {ended} have ended before" if ended else ""
    seeds = f"{len(plan.seeds)} seed{'s' if len(plan.seeds) > 1 else ''}"
    return (
        f"{len(plan.single)} single tasks and {len(plan.compared)} methods: {trials} trials and"
        f" {total - trials} runs of {seeds}, {total} in all{before}. They are kept in {folder}."
    )


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"`--launcher_settings` should be of the form NAME=VALUE. Found `{text}`.")
    return name, int(value) if re.fullmatch(r"\d+", value) else value


if __name__ == "__main__":
    fit(sys.argv[1:])
