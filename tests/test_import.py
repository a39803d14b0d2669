"""The package works with its required dependencies alone (peers L17)."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import pytest

import lightning_mtl

ROOT = Path(__file__).resolve().parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

OPTIONAL = ("torchjd", "cvxpy", "quadprog", "ecos", "torch_geometric")

SCRIPT = f"""
import sys
for name in {OPTIONAL}:
    sys.modules[name] = None  # any import of it now fails
import lightning_mtl.cli
from lightning_mtl import callbacks
assert callbacks.MGDA()
"""


@pytest.mark.peer("L1", "L17", "T19")
def test_everything_imports_without_optional_packages():
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@cache
def imported(folder: str) -> set[str]:
    """The packages that the files below a folder import, but those of the project itself."""
    names = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"lightning_mtl", "tests", "sitebuilder"}


def packages_of_distributions() -> dict[str, set[str]]:
    """The distributions that have files of each package, as `packages_distributions` of 3.11."""
    found = defaultdict(set)
    for each in distributions():
        names = (each.read_text("top_level.txt") or "").split() or {
            file.parts[0].removesuffix(".py") for file in each.files or [] if file.suffix == ".py"
        }
        for name in names:
            found[name].add(each.name)
    return found


def test_every_import_is_of_a_declared_dependency_and_every_test_dependency_is_used():
    declared = {
        name.lower().replace("-", "_")
        for name in re.findall(r'^  "([\w-]+)[\[>]', PROJECT, re.MULTILINE)
    }
    found = packages_of_distributions()
    undeclared = {
        name
        for name in imported("lightning_mtl") | imported("tests")
        if not declared & {each.lower().replace("-", "_") for each in found.get(name, [name])}
    }
    # The package of a strategy is there where parameters are its own.
    assert undeclared <= {"deepspeed"}
    (test,) = re.findall(r"^test = \[(.*?)^\]", PROJECT, re.MULTILINE | re.DOTALL)
    used = {
        each.lower().replace("-", "_")
        for name in imported("tests")
        for each in found.get(name, [name])
    }
    # The kernel of the notebooks and the workers of the tests are started by their names, and
    # Lightning imports the last.
    named = {name.replace("-", "_") for name in re.findall(r'"([\w-]+)>', test)}
    assert named - used == {"ipykernel", "pytest_xdist", "psutil"}


def test_the_version_is_that_of_the_build():
    assert re.fullmatch(r"\d+\.\d+\.\d+", lightning_mtl.__version__)
    assert 'path = "lightning_mtl/version.py"' in PROJECT
