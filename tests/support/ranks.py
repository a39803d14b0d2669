"""Run a script of the tests as a user would, in a process of its own that starts its ranks."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]


def results_of(script: str, *arguments: str, timeout: int = 900) -> Any:
    """What the module `tests.support.<script>` saves to the file that is its first argument."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.pt"
        done = subprocess.run(
            [sys.executable, "-m", f"tests.support.{script}", str(file), *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return torch.load(file)
