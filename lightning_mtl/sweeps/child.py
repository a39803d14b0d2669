"""The process of a run: it ends when the sweep does, however that ends."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lightning_mtl.import_order import LIGHTNING

Fit = Callable[[Sequence[str]], None]
"""Trains by the arguments of the command line, its name `fit` included.

Its module is run as a program, with the same arguments, by each further process of a run.
"""

METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
"""A server that has imported everything forks each run from itself, which saves seconds."""


def child(
    fit: Fit,
    config: Path,
    log: Path,
    environment: Mapping[str, str],
    threads: int,
) -> "multiprocessing.process.BaseProcess":
    """A process that will train by a config, not started yet.

    Args:
        fit: the command line.
        config: of the run.
        log: what the process prints.
        environment: all its variables.
        threads: of the processor that it may use.
    """
    context: Any = multiprocessing.get_context(METHOD)
    if METHOD == "forkserver":
        context.set_forkserver_preload(
            [LIGHTNING, fit.__module__, "lightning_mtl.callbacks", __name__]
        )
    return context.Process(
        target=_train, args=(fit, str(config), str(log), dict(environment), threads)
    )


def kill(process: "multiprocessing.process.BaseProcess") -> None:
    """End a process with all that it has started, which may outlive it; no-op if nothing runs."""
    if process.pid is None:
        return
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    # It has no group of its own yet if it has just begun.
    process.kill()
    process.join()


def _train(fit: Fit, config: str, log: str, environment: dict[str, str], threads: int) -> None:
    if hasattr(os, "setsid"):
        # A group of its own, so that it ends with all processes that it starts.
        os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    threading.Thread(target=_end_with_parent, name="watches the sweep", daemon=True).start()
    # The server's variables are those of the time when it was started.
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(threads)
    arguments = ["fit", "--config", config]
    # Lightning starts further processes of a run, one for each device, as this one was started.
    program = sys.modules["__main__"] = sys.modules[fit.__module__]
    sys.argv = [program.__file__ or program.__name__, *arguments]
    fit(arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    if hasattr(os, "killpg"):
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)
