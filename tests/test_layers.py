"""The house: imports point downwards, and no file names an algorithm it is not the home of."""

import ast
import re
from pathlib import Path

import pytest

from lightning_mtl import callbacks
from lightning_mtl.catalogue import weightings

PACKAGE = Path(callbacks.__file__).parents[1]

# From the ground up; a room may import what stands before it, and itself.
ROOMS = [
    ("checks", "vectors", "distributed", "version"),
    ("linalg",),
    ("engine",),
    ("losses",),
    ("metrics",),
    ("tasks",),
    ("models",),
    ("data",),
    ("module",),
    ("dense_prediction",),
    ("monitors", "weightings", "reports"),
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


# An algorithm may have more than one file.
ROOMS_OF_THEIR_OWN = {
    "alternating_updates": ("grouping",),
    "torchjd_weighting": ("torchjd_memory", "torchjd_statistic"),
}


def homes() -> dict[str, tuple[str, ...]]:
    files = {kind.__name__: kind.__module__.rpartition(".")[2] for kind in weightings()}
    return {name: (file, *ROOMS_OF_THEIR_OWN.get(file, ())) for name, file in files.items()}


def test_no_file_names_an_algorithm_away_from_its_home() -> None:
    found = []
    for path in FILES:
        if path == PACKAGE / "callbacks" / "__init__.py":
            continue
        text = path.read_text()
        code = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
        # In docstrings and messages names stand in backticks; elsewhere they are titles of papers.
        told = set(re.findall(r"`(\w+)", text))
        strangers = [name for name, files in homes().items() if path.stem not in files]
        found += [(name, path.name) for name in strangers if name in code | told]
    assert not found
