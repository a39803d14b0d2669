"""Log lines and bars on one terminal; tests/terminal looks at a real one."""

import io
import logging
import sys
from typing import Any

import pytest
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.rank_zero import rank_zero_module
from rich.progress import Progress

from lightning_mtl.engine.terminal import AboveBars, logs_above_bars, show_last
from tests.support.toy import Toy, quiet_trainer, toy_loader


class Terminal(io.StringIO):
    """A stream that says it is a terminal, or not."""

    def __init__(self, real: bool = True) -> None:
        super().__init__()
        self.real = real

    def isatty(self) -> bool:
        return self.real


def handler_on_terminal(monkeypatch: pytest.MonkeyPatch) -> "logging.StreamHandler[Terminal]":
    """A handler of logs that was built when the streams of the process were terminals."""
    for name in ("stdout", "stderr"):
        stream = Terminal()
        monkeypatch.setattr(sys, name, stream)
        monkeypatch.setattr(sys, f"__{name}__", stream)
    built = logging.StreamHandler(sys.stderr)
    logger: logging.Logger = rank_zero_module.log
    monkeypatch.setattr(logger, "handlers", [*logger.handlers, built])
    return built


def test_a_line_goes_to_whatever_stands_in_for_the_terminal(monkeypatch) -> None:
    handler = handler_on_terminal(monkeypatch)
    own, trainer = Terminal(), quiet_trainer()
    handler.setStream(own)
    monkeypatch.setattr(sys, "__stderr__", own)
    with logs_above_bars(trainer):
        monkeypatch.setattr(sys, "stderr", Terminal())
        rank_zero_info("a line")
        found = sys.stderr.getvalue()
    assert found == "a line\n"
    assert own.getvalue() == ""


def test_handlers_have_their_streams_back_afterwards(monkeypatch) -> None:
    handler = handler_on_terminal(monkeypatch)
    own = handler.stream
    with logs_above_bars(quiet_trainer()):
        assert isinstance(handler.stream, AboveBars)
    assert handler.stream is own


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_lines_that_go_elsewhere_than_the_bars_are_left_alone(monkeypatch, name: str) -> None:
    handler = handler_on_terminal(monkeypatch)
    getattr(sys, f"__{name}__").real = False
    with logs_above_bars(quiet_trainer()):
        assert handler.stream is sys.stderr


def test_handlers_of_files_are_left_alone(monkeypatch) -> None:
    handler = handler_on_terminal(monkeypatch)
    file = Terminal()
    handler.setStream(file)
    with logs_above_bars(quiet_trainer()):
        assert handler.stream is file


class Watched(Toy):
    """Remembers where log lines go after each step."""

    def __init__(self, handler: "logging.StreamHandler[Any]", error: type[BaseException] | None):
        super().__init__()
        self.handler, self.error = handler, error
        self.streams: list[object] = []

    def on_train_batch_end(self, *_: object) -> None:
        self.streams.append(self.handler.stream)
        if self.error:
            raise self.error


def test_runs_redirect_lines_from_their_first_step_to_their_end(monkeypatch) -> None:
    handler = handler_on_terminal(monkeypatch)
    own, trainer = handler.stream, quiet_trainer(limit_train_batches=2)
    # The second run finds the hooks of the first one.
    for epochs in (1, 2):
        module = Watched(handler, None)
        trainer.fit_loop.max_epochs = epochs
        trainer.fit(module, toy_loader())
        assert [type(stream) for stream in module.streams] == [AboveBars, AboveBars]
        assert handler.stream is own


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError], ids=["Ctrl-C", "error"])
def test_a_run_that_breaks_off_leaves_nothing_redirected(monkeypatch, error) -> None:
    handler = handler_on_terminal(monkeypatch)
    own, module = handler.stream, Watched(handler, error)
    with pytest.raises(SystemExit if error is KeyboardInterrupt else error):
        quiet_trainer().fit(module, toy_loader())
    assert [type(stream) for stream in module.streams] == [AboveBars]
    assert handler.stream is own


def test_what_is_shown_last_finds_the_bar_finished(monkeypatch) -> None:
    handler_on_terminal(monkeypatch)
    bar = RichProgressBar()
    trainer = quiet_trainer(callbacks=[bar], enable_progress_bar=True)
    with Progress() as bar.progress:
        show_last(trainer, "a table")
        assert not bar.progress.live.is_started
    assert "a table" in sys.stdout.getvalue()
