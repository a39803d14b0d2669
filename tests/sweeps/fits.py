"""In place of the command line: what a run does, by the arguments of the module in its config."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml

PROGRAM = "import time; time.sleep(600)"


def writes(arguments: Sequence[str]) -> None:
    """Write metrics at once: the better, the nearer the learning rate is to 0.2."""
    config = yaml.safe_load(Path(arguments[2]).read_text())
    given = config["model"]["init_args"]
    high = 1 - abs(given["lr"] - 0.2)
    time.sleep(given.get("sleep", 0))
    _log(config, f"val/high/accuracy,val/low/error\n{high},1.0\n")


def fails(arguments: Sequence[str]) -> None:
    """Fail where the task `low` is trained alone, and write metrics otherwise."""
    config = yaml.safe_load(Path(arguments[2]).read_text())
    if "single-low" in config["trainer"]["logger"][0]["init_args"]["save_dir"]:
        raise RuntimeError("this cannot be trained")
    writes(arguments)


def breaks(arguments: Sequence[str]) -> None:
    """Fail in any case."""
    raise RuntimeError("this cannot be trained")


def validates_nothing(arguments: Sequence[str]) -> None:
    """Write metrics of training only."""
    _log(yaml.safe_load(Path(arguments[2]).read_text()), "train/loss\n1.0\n")


def sleeps(arguments: Sequence[str]) -> None:
    """Start a process, note both, and end never."""
    _start_another(arguments)
    time.sleep(600)


def leaves_another(arguments: Sequence[str]) -> None:
    """Start a process, and end before it does."""
    _start_another(arguments)


def tells(arguments: Sequence[str]) -> None:
    """Print where and how the process runs."""
    spec = sys.modules["__main__"].__spec__
    assert spec is not None
    sys.stdout.write(f"{spec.name} {sys.argv[1:]} {os.environ.get('ANSWER')}\n")
    sys.stdout.write(f"{torch.get_num_threads()} threads\n")


def _start_another(arguments: Sequence[str]) -> None:
    other = subprocess.Popen([sys.executable, "-c", PROGRAM])
    file = Path(arguments[2]).with_name("pids")
    file.with_suffix(".part").write_text(f"{os.getpid()} {other.pid}")
    file.with_suffix(".part").rename(file)


def _log(config: dict, text: str) -> None:
    folder = Path(config["trainer"]["logger"][0]["init_args"]["save_dir"]) / "log"
    folder.mkdir()
    (folder / "metrics.csv").write_text(text)
