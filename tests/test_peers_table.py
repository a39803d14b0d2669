"""Every defect that we know of other libraries has a test of ours, or a reason why not."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SPECIFICATION = TESTS.parents[1] / "shared" / "spec" / "peers.md"
COUNTS = {"L": 25, "T": 19, "O": 20}


def rows_of(path: Path) -> list[tuple[str, str]]:
    """The ids of a table, each with the rest of its line."""
    return re.findall(r"^\| ([LTO]\d+) \| (.+) \|$", path.read_text(), re.MULTILINE)


ROWS = rows_of(TESTS / "peers_defects.md")


def test_the_table_is_complete() -> None:
    assert [row for row, _ in ROWS] == [
        f"{letter}{number}" for letter, count in COUNTS.items() for number in range(1, count + 1)
    ]


def test_the_table_has_the_rows_of_the_specification() -> None:
    """Which lies beside the project where it was written, and nowhere else."""
    if SPECIFICATION.exists():
        assert [row for row, _ in ROWS] == [row for row, _ in rows_of(SPECIFICATION)]


@pytest.mark.parametrize(("row", "cells"), ROWS, ids=[row for row, _ in ROWS])
def test_the_tests_of_a_row_exist(row: str, cells: str) -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", cells)
    assert named or "not applicable, because" in cells
    assert cells.count("::") == len(named)
    for file, name in named:
        tree = ast.parse((TESTS / file).read_text())
        assert name.startswith("test_")
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
