"""How far a sweep is, in a terminal and in a file."""

import io
import re

import pyte
import pytest
from rich.console import Console

from lightning_mtl.sweeps import progress as progress_module
from lightning_mtl.sweeps.plan import Run
from lightning_mtl.sweeps.progress import SHOWN, Progress
from tests.sweeps.examples import plan

SINGLE, _, *METHODS = (Run(method, 0) for method in plan(("equal", "gradnorm")).methods)


@pytest.fixture
def clock(monkeypatch):
    """The time, which tests set."""
    now = [100.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    return now


def watched(total: int, done: int = 0, workers: int = 1) -> tuple[Progress, io.StringIO]:
    text = io.StringIO()
    return Progress(Console(file=text, width=80), total, done, workers), text


def test_without_a_terminal_there_is_a_line_for_each_run(clock):
    progress, text = watched(total=12, done=8)
    with progress.shown():
        for run in (SINGLE, *METHODS):
            progress.begins(run)
        progress.ended(SINGLE, 0.81234, 20)
        progress.ended(METHODS[0], -1.5, 20)
        progress.failed(METHODS[1], "It ended [with] exit code 1.")
    first, second, third = text.getvalue().splitlines()
    assert first == "9/12 single-high/seed_0: metric 0.8123, 20 s, about 60 s left"
    assert second == "10/12 equal/seed_0: Delta_MTL -1.5, 20 s, about 40 s left"
    assert third == "11/12 gradnorm/seed_0 failed: It ended [with] exit code 1."


def test_the_time_left_is_the_mean_of_runs_less_what_those_at_work_have_spent(clock):
    progress, _ = watched(total=10, workers=2)
    assert progress.seconds_left() is None
    progress.begins(METHODS[0])
    progress.begins(METHODS[1])
    clock[0] += 20
    progress.ended(METHODS[0], 1.0, 20)
    # Nine are left at 20 s each, one of which is nearly done; two run at a time.
    assert progress.seconds_left() == pytest.approx((9 * 20 - 20) / 2)
    progress.stopped(METHODS[1])
    assert progress.seconds_left() == pytest.approx(9 * 20 / 2)
    progress.recount(9)
    assert progress.seconds_left() == pytest.approx(20)
    progress.recount(10)
    assert progress.seconds_left() == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(80, "about 80 s"), (600, "about 10 min"), (9000, "about 2.5 h")],
    ids=["seconds", "minutes", "hours"],
)
def test_the_time_left_is_told_in_the_unit_that_fits(seconds, words):
    progress, text = watched(total=2)
    progress.ended(METHODS[0], 1.0, seconds)
    assert text.getvalue().strip().endswith(f"{words} left")


def on_screen(text: str) -> list[str]:
    """The lines of a terminal to which this was written, without blank ones."""
    terminal = pyte.Screen(80, 24)
    pyte.Stream(terminal).feed(text.replace("\n", "\r\n"))
    return [line.rstrip() for line in terminal.display if line.strip()]


def test_a_terminal_shows_the_bar_below_the_lines():
    text = io.StringIO()
    runs = list(plan(("equal", "gradnorm"), seeds=5).runs())
    console = Console(file=text, width=80, height=24, force_terminal=True, _environ={})
    progress = Progress(console, len(runs), 0, workers=9)
    with progress.shown():
        for run in runs[:11]:
            progress.begins(run)
        for run in runs[:2]:
            progress.ended(run, 1.5, 120)
    lines = on_screen(text.getvalue())
    assert lines[0] == "1/20 single-high/seed_0: metric 1.5, 120 s"
    assert lines[1] == "2/20 single-low/seed_0: metric 1.5, 120 s"
    assert re.fullmatch(r"[━╺]+ 2/20 runs about 4 min left", lines[2])
    work = " ".join(lines[3:])
    assert work.startswith("at work: single-high/seed_1, single-low/seed_1")
    assert work.count("seed_") == SHOWN
    assert work.endswith(" and 1 more")


def test_a_terminal_says_that_other_processes_are_at_work():
    text = io.StringIO()
    console = Console(file=text, width=80, height=24, force_terminal=True, _environ={})
    with Progress(console, 20, 19, workers=1).shown():
        pass
    assert on_screen(text.getvalue())[-1] == "waiting for other processes"
