"""A small plan, and what its runs come to."""

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from lightning_mtl.answers.records import Measure
from lightning_mtl.sweeps.files import write_whole
from lightning_mtl.sweeps.methods import named_methods, scalarisation, single_tasks
from lightning_mtl.sweeps.outcomes import CONFIGS, Outcome, folder_of, write_outcome
from lightning_mtl.sweeps.plan import Choice, Plan, Run

EXPERIMENTAL = "ignore::optuna.exceptions.ExperimentalWarning"
"""What commands ask of Python once, and pytest undoes after each test."""

MEASURES = (Measure("high", "val/high/accuracy", True), Measure("low", "val/low/error", False))
TASKS = ("high", "low")
RATE = "model.init_args.lr"


def plan(
    names: Sequence[str] = ("equal",),
    seeds: int = 1,
    rates: Sequence[float] = (1.0,),
    grid: bool = False,
) -> Plan:
    methods = [*single_tasks(TASKS, TASKS), *named_methods(names, [""], {})]
    if grid:
        methods.insert(2, scalarisation(TASKS))
    return Plan(MEASURES, tuple(methods), tuple(range(seeds)), tuple(rates), RATE, "equal")


def many_seeds(seeds: int) -> Plan:
    """A plan whose last phase has as many runs."""
    return replace(plan(), seeds=tuple(range(seeds)))


def config(**arguments: Any) -> dict[str, Any]:
    """What the functions of `fits` are told by."""
    return {
        "model": {"class_path": "a.Module", "init_args": {"lr": 0.1, **arguments}},
        "trainer": {"max_epochs": 3},
    }


def ended(sweep: Path, run: Run, high: float, low: float, rate: float = 1.0) -> None:
    """Write what a run of this accuracy and this error leaves."""
    metrics = {"val/high/accuracy": high, "val/low/error": low}
    write_outcome(folder_of(sweep, run), Outcome(metrics, run.choice or Choice(rate), 2.0))


def saved(sweep: Path, made: Plan) -> Plan:
    """The plan, with what a sweep keeps of it."""
    made.save(sweep)
    write_whole(sweep / CONFIGS / "sweep.yaml", yaml.safe_dump(config()))
    return made


def lives(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(found.stdout.strip()) and not found.stdout.startswith("Z")


def comes_true(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether a condition becomes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
