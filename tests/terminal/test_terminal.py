"""On a real terminal bars, log lines and tables never write over each other."""

import re
import sys
from pathlib import Path

import pytest

from tests.terminal.program import ROWS
from tests.terminal.screen import ROOT, screen

WIDTHS = [80, pytest.param(140, marks=pytest.mark.slow)]
LINES = [
    "GradNorm: a step costs F + H + B + K B_last (equal weighting: F + H + B)",
    "shared: 40 in trunk; heads: task_0 9, task_1 9, task_2 9, task_3 9, task_4 9",
    "`Trainer.fit` stopped: `max_epochs=2` reached.",
]


def squeezed(text: str) -> str:
    """Without blanks, which differ where a line is broken."""
    return re.sub(r"\s", "", text)


def check_line(lines: list[str], text: str, times: int) -> None:
    """A line of the log is there, whole, and at the start of a line."""
    assert squeezed("".join(lines)).count(squeezed(text)) == times, text
    first = " ".join(text.split()[:3])
    assert sum(line.startswith(first) for line in lines) == times, text


def check_table(lines: list[str], title: str) -> None:
    """A table is there, whole, once, and nothing stands between its rows."""
    start = lines.index(title)
    rows = lines[start : start + ROWS + 5]
    assert [row[0] for row in rows[1:]] == ["┏", "┃", "┡", *"│" * ROWS, "└"], rows
    assert [row.strip("│ ") for row in rows[4:-1]] == [f"{title} {row}" for row in range(ROWS)]
    assert lines.count(title) == 1


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_written_over(tmp_path: Path, width: int) -> None:
    lines = screen([sys.executable, "-m", "tests.terminal.program"], width, tmp_path)
    for text in LINES:
        check_line(lines, text, times=2)
    for bar in ("rich", "tqdm"):
        for epoch in range(2):
            check_line(lines, f"{bar} epoch {epoch} has ended. " + "word " * 20, times=1)
        check_table(lines, f"{bar} network")
        check_table(lines, f"{bar} result")
    of_rich, of_tqdm = (row for row, line in enumerate(lines) if "it/s" in line)
    # The table stands right below the bar.
    assert lines.index("tqdm result") == of_tqdm + 1
    assert re.search(r", total=\d\.\d+, weighted=\d\.\d+\]$", lines[of_tqdm])
    if width == 140:
        assert lines.index("rich result") == of_rich + 1
        assert re.search(r"it/s total: \d\.\d+ weighted: \d\.\d+$", lines[of_rich])
    else:
        assert lines.index("rich result") == of_rich + 2
        assert re.search(r"it/s total: \d\.\d+$", lines[of_rich])
        assert re.fullmatch(r" +weighted: \d\.\d+", lines[of_rich + 1])
        assert lines[of_rich].index("total") == lines[of_rich + 1].index("weighted")


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 140])
def test_the_quick_start_leaves_its_lines_and_its_tables_whole(tmp_path: Path, width: int) -> None:
    config = ROOT / "configs" / "quickstart.yaml"
    short = ["--trainer.max_epochs", "1", "--data.train_length", "8", "--data.val_length", "4"]
    command = [sys.executable, "-m", "lightning_mtl.cli", "fit", "--config", str(config)]
    lines = screen([*command, *short, "--data.batch_size", "4"], width, tmp_path)
    flat = squeezed("".join(lines))
    assert re.search(r"shared:11\.2Minnetwork\.encoder;heads:\S*?normals[\d.]+[kM]", flat)
    assert flat.count("`Trainer.fit`stopped:`max_epochs=1`reached.") == 1
    (bar,) = (row for row, line in enumerate(lines) if "it/s" in line)
    corners = [line[0] for line in lines[bar + 1 :] if line[0] in "┏└"]
    assert corners == ["┏", "└"]
    assert any(line.startswith("│ normals") and "within_30 " in line for line in lines[bar:])
    assert lines[-1].startswith("└")
