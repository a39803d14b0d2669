"""One run: a process of its own, and what it has left in its folder."""

import json
import os
import re
import shutil
import threading
import time
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import yaml

from lightning_mtl.compare import read_results
from lightning_mtl.sweeps.child import Fit, child, kill
from lightning_mtl.sweeps.files import write_whole
from lightning_mtl.sweeps.queue import RunFailed

WARNING = re.compile(r"^\S+:\d+: (?:UserWarning: )?(`\w+` should .+)$", re.MULTILINE)
"""A line of the log that warns: where from, and what should be, was found and is to be done."""

LINES = 12
"""How much of the log of a failed run its message repeats."""


class Stopped(Exception):
    """The sweep was interrupted; the run is as if it had not been started."""


def train(
    config: Mapping[str, Any],
    folder: Path,
    fit: Fit,
    environment: Mapping[str, str],
    threads: int,
    stop: threading.Event,
) -> dict[str, Any]:
    """Train one run and read what it has come to.

    The run is `lightning-mtl fit --config run.yaml` in a process of its own, whose output is
    `log.txt`. Both files are in its folder, so that it can be repeated by hand. What an earlier
    attempt has left there is deleted.

    Args:
        config: of the run.
        folder: of the run.
        fit: the command line.
        environment: variables for the process besides those of this one.
        threads: of the processor that it may use.
        stop: set to end the process.

    Returns:
        `metrics`, `seconds`, `step_seconds`, `peak_bytes` and `warnings`.

    Raises:
        RunFailed: if the process ends with an error, or without metrics.
        Stopped: if it was ended by `stop`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    file, log = folder / "run.yaml", folder / "log.txt"
    write_whole(file, yaml.safe_dump(dict(config), sort_keys=False))
    begun = time.monotonic()
    code = _execute(child(fit, file, log, {**os.environ, **environment}, threads), stop)
    if code:
        raise RunFailed(f"It ended with exit code {code}. {_end_of(log)}")
    try:
        metrics = read_results(folder / "log")
    except (OSError, ValueError) as error:
        raise RunFailed(str(error)) from error
    values = {name: value for name, value in metrics.items() if name.startswith("val/")}
    if not values:
        raise RunFailed("It validated nothing: validate at least in the last epoch.")
    costs = folder / "costs.json"
    read = json.loads(costs.read_text(encoding="utf-8")) if costs.is_file() else {}
    return {
        "metrics": values,
        "seconds": time.monotonic() - begun,
        "step_seconds": read.get("step_seconds"),
        "peak_bytes": read.get("peak_bytes"),
        "warnings": _warnings_of(log),
    }


def _execute(process: BaseProcess, stop: threading.Event) -> int:
    process.start()
    try:
        while process.is_alive():
            process.join(0.1)
            if stop.is_set():
                raise Stopped
    finally:
        kill(process)
    assert process.exitcode is not None
    return process.exitcode


def _end_of(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "Its log ends: " + " | ".join(lines[-LINES:]) if lines else "Its log is empty."


def _warnings_of(log: Path) -> list[str]:
    """What this package has warned of, in the form that all its messages have."""
    text = log.read_text(encoding="utf-8", errors="replace")
    return list(dict.fromkeys(WARNING.findall(text)))
