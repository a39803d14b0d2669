"""The process of a run: it ends when the sweep does, however that ends."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

Fit = Callable[[Sequence[str]], None]
"""Trains by the arguments of the command line, its name `fit` included."""

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
    context = multiprocessing.get_context(METHOD)
    if METHOD == "forkserver":
        context.set_forkserver_preload([fit.__module__, "lightning_mtl.callbacks", __name__])
    return context.Process(
        target=_train, args=(fit, str(config), str(log), dict(environment), threads)
    )


def kill(process: "multiprocessing.process.BaseProcess") -> None:
    """End a process with all that it has started; no-op if it has ended."""
    if process.is_alive() and process.pid is not None:
        if hasattr(os, "killpg"):
            _kill_group(process.pid)
        else:
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
    # Lightning starts further processes of a run, one for each device, by these words.
    sys.argv = [sys.modules[fit.__module__].__file__ or fit.__module__, *arguments]
    fit(arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    if hasattr(os, "killpg"):
        _kill_group(os.getpid())
    os._exit(1)


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        # It has not yet got a group of its own, or has just ended.
        os.kill(leader, signal.SIGKILL)
