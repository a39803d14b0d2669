"""Log lines and tables beside the progress bars of Lightning, which draw on the same terminal."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TextIO

import lightning as L
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.utilities.rank_zero import rank_zero_module  # type: ignore[attr-defined]
from rich import get_console
from rich.console import RenderableType

from lightning_mtl.engine.trainer_facts import live_bar, pause_of_bar


class AboveBars:
    """A stream for log lines, below which the bars are drawn again.

    While a bar of rich is live, rich stands in for the streams of the process and does so itself. A
    handler of logs keeps the stream that it once had and would write into the bar.

    Args:
        trainer: whose bar it is.
        name: of a stream of the process.
    """

    def __init__(self, trainer: L.Trainer, name: Literal["stdout", "stderr"]) -> None:
        self.trainer = trainer
        self.name = name

    def write(self, text: str) -> None:
        """Write above the bars, where there are some."""
        with pause_of_bar(self.trainer):
            Tqdm.write(text, file=getattr(sys, self.name), end="")

    def flush(self) -> None:
        """Flush the stream of the process."""
        getattr(sys, self.name).flush()


@contextmanager
def logs_above_bars(trainer: L.Trainer) -> Iterator[None]:
    """Within it, what Lightning and this package log stands above the bars, if on a terminal."""
    screens = {
        sys.__stdout__: AboveBars(trainer, "stdout"),
        sys.__stderr__: AboveBars(trainer, "stderr"),
    }
    pairs = [(handler, handler.stream) for handler in _handlers() if handler.stream in screens]
    # Bars and lines that go to different places never meet.
    if not all(_is_terminal(screen) for screen in screens):
        pairs = []
    for handler, stream in pairs:
        handler.setStream(screens[stream])
    try:
        yield
    finally:
        for handler, stream in pairs:
            handler.setStream(stream)


def show(trainer: L.Trainer, table: RenderableType) -> None:
    """Print something of rich above the bars, where there are some."""
    with pause_of_bar(trainer), Tqdm.external_write_mode():
        get_console().print(table)


def show_last(trainer: L.Trainer, table: RenderableType) -> None:
    """Print something of rich below the bars, which are finished. Called when a run ends."""
    # Lightning stops its bar of rich only after all callbacks have done their last work.
    bar = live_bar(trainer)
    if bar is not None:
        bar.stop()
    show(trainer, table)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def _handlers() -> Iterator["logging.StreamHandler[Any]"]:
    """The handlers that write what `rank_zero_info` is told to a stream."""
    logger: logging.Logger | None = rank_zero_module.log
    while logger is not None:
        yield from (h for h in logger.handlers if isinstance(h, logging.StreamHandler))
        logger = logger.parent if logger.propagate else None
