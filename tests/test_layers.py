"""The house: imports point downwards, none in a circle, and an algorithm is named at home only."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import lightning_mtl
from lightning_mtl.catalogue import weightings

PACKAGE = Path(lightning_mtl.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
AT_THE_ROOT = 14
"""As many files as one sees at a glance: what more there is belongs into a folder."""

# From the ground up: a room may import what stands before it, and itself, and no room beside it.
# A file belongs to the innermost room that is listed.
ROOMS = [
    ("checks", "vectors", "distributed", "import_order", "version"),
    ("linalg", "statistics"),
    ("engine",),
    ("losses",),
    ("metrics",),
    ("tasks",),
    ("evaluation",),
    ("models",),
    ("data/geometry",),
    ("data/augmentation",),
    ("data/reading", "data/collate", "data/seeding"),
    ("data/photos", "data/resuming", "data/mixture"),
    ("data/datamodule",),
    ("data/datasets", "data/rooms"),
    ("data",),
    ("module",),
    ("dense_prediction", "training_step_losses"),
    ("weightings/memory",),
    ("weightings/bases",),
    ("monitors", "weightings", "reports"),
    ("mixing",),
    ("callbacks",),
    ("catalogue",),
    ("compare",),
    ("answers",),
    ("sweeps", "diagnosis"),
    ("command_line",),
    ("cli",),
]
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}


def name_of(path: Path) -> str:
    """Such as `data/reading/files`, and `data` for the `__init__` of a package."""
    return str(path.relative_to(PACKAGE).with_suffix("")).removesuffix("__init__").rstrip("/")


def room(name: str) -> str:
    while name not in LEVEL:
        assert "/" in name, f"`{name}` belongs to no room: add it to the list"
        name = name.rpartition("/")[0]
    return name


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Everything of the package that a file imports: a module, and what of it (or nothing)."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def imported(path: Path) -> Iterator[str]:
    """The files that a file imports; what a package hands on counts as where it comes from."""
    for module, found in imports(path):
        if module.split(".")[0] == PACKAGE.name:
            yield source("/".join(module.split(".")[1:]), found)


def source(module: str, found: str) -> str:
    """The file where a module has `found` from."""
    package = PACKAGE / module / "__init__.py"
    if not package.exists():
        return module
    if (PACKAGE / module / found).is_dir() or (PACKAGE / module / f"{found}.py").exists():
        return f"{module}/{found}".strip("/")
    for other, name in imports(package):
        if name == found:
            return source("/".join(other.split(".")[1:]), name)
    return module


GRAPH = {name_of(path): set(imported(path)) for path in FILES if path.name != "__init__.py"}


def test_imports_point_downwards() -> None:
    upwards = [
        f"`{name}` imports `{other}`"
        for name, others in GRAPH.items()
        for other in others
        if room(other) != room(name) and LEVEL[room(other)] >= LEVEL[room(name)]
    ]
    assert not upwards


def test_no_imports_run_in_a_circle() -> None:
    circle = []
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        circle = error.args[1][::-1]
    assert not circle, " imports ".join(circle)


def test_packages_hand_on_what_stands_below_them() -> None:
    upwards = [
        f"`{name}/__init__` imports `{module}`"
        for name, path in ((name_of(path), path) for path in FILES if path.name == "__init__.py")
        for module in imported(path)
        if name and LEVEL[room(module)] > LEVEL[room(name)]
    ]
    assert not upwards


def test_few_files_stand_at_the_root() -> None:
    found = sorted(path.name for path in PACKAGE.glob("*.py"))
    assert len(found) <= AT_THE_ROOT, found


def home(kind: type) -> str:
    """The file of an algorithm, or the folder of one that has several."""
    file = kind.__module__.removeprefix(f"{PACKAGE.name}.").replace(".", "/")
    folder = file.rpartition("/")[0]
    return file if folder == "weightings" else folder


def test_no_file_names_an_algorithm_away_from_its_home() -> None:
    homes = {kind.__name__: home(kind) for kind in weightings()}
    strangers = []
    for path in FILES:
        file = name_of(path)
        if file == "callbacks":
            continue
        code = {node.id for node in ast.walk(tree(path)) if isinstance(node, ast.Name)}
        # In docstrings and messages names stand in backticks; elsewhere they are titles of papers.
        told = set(re.findall(r"`(\w+)", path.read_text()))
        strangers += [
            f"`{file}` names `{name}` of `{place}`"
            for name, place in homes.items()
            if name in code | told and not f"{file}/".startswith(f"{place}/")
        ]
    assert not strangers
