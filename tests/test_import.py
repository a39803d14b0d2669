"""The package works with its required dependencies alone (peers L17)."""

import subprocess
import sys

OPTIONAL = ("torchjd", "cvxpy", "quadprog", "ecos", "torch_geometric")

SCRIPT = f"""
import sys
for name in {OPTIONAL}:
    sys.modules[name] = None  # any import of it now fails
import lightning_mtl.cli
from lightning_mtl import callbacks
assert callbacks.MGDA()
"""


def test_everything_imports_without_optional_packages():
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
