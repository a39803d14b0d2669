"""The house: imports point downwards, and no file names an algorithm it is not the home of."""

import ast
from pathlib import Path

import pytest

from lightning_mtl import callbacks

PACKAGE = Path(callbacks.__file__).parents[1]

# From the ground up; a room may import what stands before it, and itself.
ROOMS = [
    ("checks", "vectors", "distributed", "graph", "version"),
    ("linalg", "noise", "state", "guard"),
    ("gradients", "adam", "rows", "generator"),
    ("partition", "task_backward", "window"),
    ("step",),
    ("measure", "balancer", "bookkeeping"),
    ("losses",),
    ("metrics",),
    ("tasks",),
    ("models",),
    ("data",),
    ("module",),
    ("dense_prediction", "replay"),
    ("callbacks",),
    ("catalogue", "compare"),
    ("cli",),
]
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return {name.split(".")[1] for name in names if name.startswith("lightning_mtl.")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    above = {
        other
        for other in imported(ast.parse(path.read_text()))
        if other != room(path) and LEVEL[other] >= LEVEL[room(path)]
    }
    assert not above


def test_no_code_names_an_algorithm_away_from_its_home() -> None:
    bases = {"Weighting", "LossWeighting", "GramianWeighting", "JacobianWeighting"}
    algorithms = {
        name: getattr(callbacks, name)
        for name in callbacks.__all__
        if isinstance(getattr(callbacks, name), type)
        and issubclass(getattr(callbacks, name), callbacks.Weighting)
        and name not in bases
    }
    homes = {name: kind.__module__.replace(".", "/") for name, kind in algorithms.items()}
    found = []
    for path in FILES:
        if path == PACKAGE / "callbacks" / "__init__.py":
            continue
        used = {
            node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)
        }
        found += [
            (name, path.name)
            for name in used & set(homes)
            if not str(path.with_suffix("")).endswith(homes[name])
        ]
    assert not found
