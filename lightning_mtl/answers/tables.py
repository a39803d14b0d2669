"""An answer as tables: for the terminal and for documents."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from lightning_mtl.answers.answer import Answer, MethodSummary
from lightning_mtl.answers.cells import NONE, interval, settings_text, times
from lightning_mtl.answers.phrases import percent
from lightning_mtl.answers.records import Measure

WIDTH = 80
"""Columns of a terminal that a table may take."""

NAME = 24
"""The widest column of names in a terminal; longer names are folded."""

TABLES = 4
"""The most tables of tasks in a terminal."""

SINGLE = "single-task runs"
"""The row of the baselines."""


SPACE = "\N{NO-BREAK SPACE}"

Cells = frozenset[tuple[int, int]]
"""Row and column of some cells."""


@dataclass(frozen=True)
class Grid:
    """A table before it is laid out.

    Args:
        header: of the columns. The first holds the names of the methods.
        rows: of cells.
        best: the row and the column of the cells with the best mean of their column.
        numbers: whether the cells are numbers, aligned at the right.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: Cells = frozenset()
    numbers: bool = True


def summary_grid(answer: Answer) -> Grid:
    """For each method: its score, its mean rank, its costs and how many seeds count.

    Columns without a number are left out.
    """
    summaries = answer.methods
    ranks = {} if answer.ranking is None else answer.ranking.ranks
    score = "" if answer.score is None else answer.score.name
    means = [None if each.score is None else each.score.mean for each in summaries]
    places = [ranks.get(each.method) for each in summaries]
    columns = {
        "method": [each.method for each in summaries],
        f"{score} (%){SPACE}↑": [interval(each.score, sign=True) for each in summaries],
        f"rank{SPACE}↓": [NONE if place is None else f"{place:.2f}" for place in places],
        "time": [times(each.step_time) for each in summaries],
        "memory": [times(each.memory) for each in summaries],
        "seeds": [str(len(each.runs)) for each in summaries],
    }
    kept = {name: cells for name, cells in columns.items() if set(cells) != {NONE}}
    names = list(kept)
    best: Cells = frozenset()
    for values, name, higher in (
        (means, f"{score} (%){SPACE}↑", True),
        (places, f"rank{SPACE}↓", False),
    ):
        best |= _best(values, names.index(name), higher) if name in kept else frozenset()
    return Grid(tuple(kept), tuple(zip(*kept.values(), strict=True)), best)


def task_grid(answer: Answer, measures: Sequence[Measure]) -> Grid:
    """For each method: the metrics of some tasks; the single-task runs have the last row."""
    rows = [
        (summary.method, *(interval(summary.tasks.get(each.task)) for each in measures))
        for summary in answer.methods
    ]
    if answer.single_tasks:
        baselines = (interval(answer.single_tasks.get(each.task)) for each in measures)
        rows.append((SINGLE, *baselines))
    best: Cells = frozenset()
    for column, measure in enumerate(measures, start=1):
        means = [_mean(summary, measure) for summary in answer.methods]
        best |= _best(means, column, measure.higher_is_better)
    header = tuple(each.arrow_title for each in measures)
    return Grid(("method", *header), tuple(rows), best)


def settings_grid(answer: Answer) -> Grid | None:
    """What was chosen for each method; `None` if nothing was."""
    rows = [(each.method, settings_text(each.settings)) for each in answer.methods]
    chosen = [row for row in rows if row[1] != NONE]
    return Grid(("method", "chosen settings"), tuple(chosen), numbers=False) if chosen else None


def terminal(answer: Answer) -> list[Table]:
    """Tables of at most 80 columns: the summary, and the tasks, as many in a table as fit.

    Many tasks are left to the files, which the last line says.
    """
    title = f"{answer.name}: mean ± half of the {percent(answer.level)} interval over seeds"
    summary = _rich(summary_grid(answer), title)
    chunks = _chunks(answer)
    if len(chunks) > TABLES:
        summary.caption = f"The metrics of {len(answer.measures)} tasks are in the files."
        return [summary]
    return [summary, *(_rich(task_grid(answer, chunk), None) for chunk in chunks)]


def markdown(answer: Answer) -> str:
    """The summary, the tasks and the chosen settings as tables of GitHub's Markdown."""
    grids = [summary_grid(answer), task_grid(answer, answer.measures), settings_grid(answer)]
    return "\n".join(_markdown(grid) for grid in grids if grid is not None)


def markdown_text(text: str) -> str:
    """A text in which nothing begins a cell or a tag of HTML."""
    return text.replace("|", r"\|").replace("<", "&lt;")


def _rich(grid: Grid, title: str | None) -> Table:
    table = Table(title=None if title is None else escape(title), title_justify="left")
    table.add_column(grid.header[0], overflow="fold", max_width=NAME)
    for name in grid.header[1:]:
        table.add_column(escape(name), justify="right", overflow="fold")
    for index, row in enumerate(grid.rows):
        cells = [
            f"[bold]{escape(cell)}[/bold]" if (index, column) in grid.best else escape(cell)
            for column, cell in enumerate(row)
        ]
        table.add_row(
            *cells, end_section=index == len(grid.rows) - 2 and grid.rows[-1][0] == SINGLE
        )
    return table


def _chunks(answer: Answer) -> list[list[Measure]]:
    """The tasks in groups that fit the terminal."""
    names = [SINGLE] * bool(answer.single_tasks) + [each.method for each in answer.methods]
    room = WIDTH - min(NAME, max(map(len, names))) - 4
    chunks: list[list[Measure]] = []
    left = 0
    for measure in answer.measures:
        grid = task_grid(answer, [measure])
        width = 3 + max(len(grid.header[1]), *(len(row[1]) for row in grid.rows))
        if not chunks or width > left:
            chunks.append([])
            left = room
        chunks[-1].append(measure)
        left -= width
    return chunks


def _markdown(grid: Grid) -> str:
    rules = ["---", *["---:" if grid.numbers else "---"] * (len(grid.header) - 1)]
    rows = [
        [
            f"**{markdown_text(cell)}**" if (index, column) in grid.best else markdown_text(cell)
            for column, cell in enumerate(row)
        ]
        for index, row in enumerate(grid.rows)
    ]
    lines = [map(markdown_text, grid.header), rules, *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _mean(summary: MethodSummary, measure: Measure) -> float | None:
    found = summary.tasks.get(measure.task)
    return None if found is None else found.mean


def _best(values: Sequence[float | None], column: int, higher: bool) -> Cells:
    """The cells of a column that hold its best value."""
    known = [value for value in values if value is not None]
    if not known:
        return frozenset()
    best = max(known) if higher else min(known)
    return frozenset((row, column) for row, value in enumerate(values) if value == best)
