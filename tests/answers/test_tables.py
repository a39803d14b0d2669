"""Tables for the terminal and for documents."""

import io

import pytest
from rich.console import Console

from lightning_mtl.answers.answer import answer
from lightning_mtl.answers.records import Measure, Results
from lightning_mtl.answers.tables import markdown, settings_grid, summary_grid, task_grid, terminal
from tests.answers.examples import MEASURES, planted

LONG = {"equal": 0.0} | {
    f"weighting {index} with a [very] long name | <b>": 0.0 for index in range(13)
}
SIX_TASKS = tuple(
    Measure(f"task {index}", f"val/task {index}/accuracy", True) for index in range(6)
)
FORTY = tuple(Measure(f"label {index}", f"val/label {index}/F1", True) for index in range(40))


def shown(results: Results) -> str:
    console = Console(file=io.StringIO(), width=80)
    for table in terminal(answer(results)):
        assert console.measure(table).minimum <= 80
        console.print(table)
    return console.file.getvalue()


@pytest.mark.parametrize(
    "results",
    [planted(), planted(LONG, measures=SIX_TASKS), planted(measures=FORTY), planted(seeds=1)],
    ids=["three tasks", "long names", "forty tasks", "one seed"],
)
def test_the_terminal_needs_80_columns(results: Results) -> None:
    lines = shown(results).splitlines()
    assert max(map(len, lines)) <= 80


def test_numbers_are_not_folded_in_the_terminal() -> None:
    text = shown(planted(LONG, measures=SIX_TASKS))
    found = answer(planted(LONG, measures=SIX_TASKS))
    for grid in (summary_grid(found), task_grid(found, SIX_TASKS)):
        assert all(cell in text for row in grid.rows for cell in row[1:])


def test_brackets_in_names_are_no_markup() -> None:
    assert "[very]" in shown(planted({"equal": 0.0, "a [very] b": 0.0}))


def test_many_tasks_are_left_to_the_files() -> None:
    assert "The metrics of 40 tasks are in the files." in shown(planted(measures=FORTY))


def test_the_best_means_are_marked() -> None:
    found = answer(planted())
    row = found.methods.index(found.summary("planted"))
    assert {(row, 1), (row, 2)} == summary_grid(found).best
    assert {(row, 1), (row, 2), (row, 3)} == task_grid(found, MEASURES).best


def test_columns_without_a_number_are_left_out() -> None:
    grid = summary_grid(answer(planted({"one": 0.0}, reference=None, single_tasks={})))
    assert grid.header == ("method", "seeds")


def test_markdown_has_a_row_for_every_method_and_baselines_and_escapes_names() -> None:
    text = markdown(answer(planted({"equal": 0.0, "a|<b>": 0.0})))
    assert r"| a\|&lt;b> |" in text
    assert "| single-task runs |" in text
    rows = [line for line in text.splitlines() if line.startswith("| equal ")]
    assert len(rows) == 2


def test_settings_are_listed_where_something_was_chosen() -> None:
    grid = settings_grid(answer(planted({"equal": 0.0, "a": 0.0})))
    assert grid is not None
    assert grid.rows == (("a", "learning rate: × 2; weights: depth 0.5"),)
    assert settings_grid(answer(planted({"equal": 0.0}))) is None
