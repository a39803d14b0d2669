"""Scripts of the tests on several gloo ranks, all started at once, as `torchrun` does it."""

import os
import runpy
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as unbound:
        unbound.bind(("127.0.0.1", 0))
        return unbound.getsockname()[1]


def run_rank(module: str, arguments: Sequence[str], environment: dict[str, str], log: str) -> None:
    """Run a module as a script, with what it prints in a file."""
    os.environ.update(environment)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    sys.argv = [module, *arguments]
    with Path(log).open("w") as text:
        for stream in (1, 2):
            os.dup2(text.fileno(), stream)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def outputs_of(
    script: str, *arguments: str, ranks: int = 2, timeout: int = 900
) -> tuple[list[int | None], str]:
    """Exit codes, and what all ranks printed, of the module `tests.support.<script>`.

    The first rank that fails ends the others, which may be waiting for it.

    Args:
        script: the name of the module.
        arguments: its arguments.
        ranks: how many processes run it; a single one is not told that it is a rank.
        timeout: in seconds.
    """
    shared = {"NODE_RANK": "0", "WORLD_SIZE": str(ranks)}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    with tempfile.TemporaryDirectory() as folder:
        logs = [f"{folder}/{rank}.txt" for rank in range(ranks)]
        context, processes = get_context("forkserver"), []
        for rank, log in enumerate(logs):
            environment = {} if ranks == 1 else shared | {"LOCAL_RANK": str(rank)}
            call = (f"tests.support.{script}", arguments, environment, log)
            processes.append(context.Process(target=run_rank, args=call))
            processes[-1].start()
        end = time.monotonic() + timeout
        while any(p.is_alive() for p in processes) and not any(p.exitcode for p in processes):
            if time.monotonic() > end:
                break
            time.sleep(0.05)
        codes = [process.exitcode for process in processes]
        for process in processes:
            process.kill()
            process.join()
        return codes, "\n".join(Path(log).read_text() for log in logs)


def distance_between_replicas(mine: Tensor) -> float:
    """How far any rank's parameters are from those of the first; called by all ranks."""
    first = mine.clone()
    dist.broadcast(first, src=0)
    distance = (mine - first).abs().max()
    dist.all_reduce(distance, op=dist.ReduceOp.MAX)
    return float(distance)


def save_of_first(results: Any, file: str) -> None:
    """Save what the first rank has found, before any rank goes on; called by all ranks, or one."""
    several = dist.is_initialized()
    if not several or dist.get_rank() == 0:
        torch.save(results, file)
    if several:
        dist.barrier()


def results_of(script: str, *arguments: str, ranks: int = 2, timeout: int = 900) -> Any:
    """What the module `tests.support.<script>` saves to the file that is its first argument."""
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/results.pt"
        codes, printed = outputs_of(script, file, *arguments, ranks=ranks, timeout=timeout)
        assert codes == [0] * ranks, printed[-4000:]
        return torch.load(file)
