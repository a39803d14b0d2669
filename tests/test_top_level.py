"""The top level of the project holds what the design allows, and no run leaves anything there."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {"README.md", "configs", "lightning_mtl", "notebooks", "pyproject.toml", "tests"}


def tracked() -> list[str]:
    """The tracked files, by their paths from the top."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a checkout of git")
    command = ["git", "-C", str(ROOT), "ls-files"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_nothing_else_is_at_the_top() -> None:
    names = {path.partition("/")[0] for path in tracked()}
    assert {name for name in names if not name.startswith(".")} == ALLOWED
