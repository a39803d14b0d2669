"""How far a sweep is: runs done, runs at work, and the time that is left."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lightning_mtl.sweeps.plan import Run

SHOWN = 8
"""How many of the runs at work are named."""


class Progress:
    """Shows a bar in a terminal, and a line for each run that ended.

    Args:
        console: where to show it.
        total: runs of the plan.
        done: runs that had ended before.
        workers: runs that this process has at work at once.
    """

    def __init__(self, console: Console, total: int, done: int, workers: int) -> None:
        self.console = console
        self.total = total
        self.done = done
        self.workers = workers
        self.durations: list[float] = []
        self._running: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bar while runs are executed; without a terminal, the lines only."""
        if not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=self._render, console=self.console, refresh_per_second=2):
            yield

    def begins(self, run: Run) -> None:
        """Note that a run is at work."""
        with self._lock:
            self._running[run.key] = time.monotonic()

    def ended(self, run: Run, score: float, seconds: float) -> None:
        """Note that a run has succeeded."""
        with self._lock:
            self._running.pop(run.key, None)
            self.durations.append(seconds)
            self.done += 1
            name = "metric" if run.method.task is not None else "Delta_MTL"
            line = f"{self.done}/{self.total} {run.key}: {name} {score:.4g}, {seconds:.0f} s"
            left = self.seconds_left()
        end = "" if self.console.is_terminal or left is None else f", {_words(left)} left"
        self.console.print(line + end, highlight=False, soft_wrap=True)

    def failed(self, run: Run, message: str) -> None:
        """Note that a run has failed."""
        with self._lock:
            self._running.pop(run.key, None)
            self.done += 1
            line = f"{self.done}/{self.total} {run.key} failed: {message}"
        self.console.print(Text(line), soft_wrap=True)

    def recount(self, done: int) -> None:
        """Set how many runs have ended, those of other processes included."""
        with self._lock:
            self.done = done

    def stopped(self, run: Run) -> None:
        """Note that a run was interrupted, and will begin anew."""
        with self._lock:
            self._running.pop(run.key, None)

    def seconds_left(self) -> float | None:
        """How long the rest will take, by the mean of the runs so far; `None` before the first."""
        if not self.durations:
            return None
        mean = sum(self.durations) / len(self.durations)
        now = time.monotonic()
        spent = sum(min(now - begun, mean) for begun in self._running.values())
        open_runs = max(0, self.total - self.done)
        return max(0.0, (open_runs * mean - spent) / min(self.workers, max(1, open_runs)))

    def _render(self) -> Group:
        with self._lock:
            left, running = self.seconds_left(), list(self._running)
        table = Table.grid(padding=(0, 1))
        table.add_row(
            ProgressBar(self.total, self.done, width=30),
            f"{self.done}/{self.total} runs",
            "" if left is None else f"{_words(left)} left",
        )
        more = f" and {len(running) - SHOWN} more" if len(running) > SHOWN else ""
        names = ", ".join(running[:SHOWN]) + more
        return Group(table, Text(f"at work: {names}" if names else "waiting for other processes"))


def _words(seconds: float) -> str:
    """A duration such as `about 3 min`."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    minutes = seconds / 60
    return f"about {minutes:.0f} min" if minutes < 90 else f"about {minutes / 60:.1f} h"
