"""Long runs that are killed and resumed, beside undisturbed ones.

The script forks a process for every life of a run, so that a kill is a real one and imports are
paid once. Run as `python -m tests.support.soak FILE RANKS STEPS`.
"""

import gc
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from tests.support.equivalence import RULES
from tests.support.parts import Part, Stream
from tests.support.ranks import free_port
from tests.support.toy import TASKS, Toy, parameters, quiet_trainer

ONE_OF_EACH_FAMILY = (
    "UncertaintyWeighting",
    "FAMO",
    "GradNorm",
    "MGDA",
    "MGDA(every_n_steps)",
    "SDMGrad",
    "MaxGNR",
    "MoCo",
    "GradDrop",
    "AlternatingUpdates",
)
ON_TWO_RANKS = ("GradNorm", "MGDA(every_n_steps)", "MoCo", "AlternatingUpdates")

PERIOD, SAVED, KILLED = 100, 50, 63
"""In each 100 steps the run is killed after 63, and resumes with the checkpoint of 50."""

WARM, KILOBYTES = 200, 4096
"""From this step on a run's memory is constant, but for what allocators round."""


class Life(NamedTuple):
    """One process of a run.

    Attributes:
        name: of the rule.
        folder: of its checkpoints and its results.
        rank: of this process.
        ranks: how many there are.
        steps: of the whole run.
        kill_at: after which step the process is killed; `None` to run until the end.
    """

    name: str
    folder: str
    rank: int
    ranks: int
    steps: int
    kill_at: int | None

    def checkpoint(self) -> str | None:
        """What to resume from."""
        file = Path(self.folder) / "last.ckpt"
        return str(file) if file.exists() else None


class Masked(Toy):
    """A toy whose loss is a mean over the samples that have a target: 0 if none has one."""

    def task_losses(self, batch: Part) -> dict[str, Tensor]:
        features = self.trunk(batch["x"])
        losses = {}
        for task in [task for task in TASKS if task in batch]:
            target = batch[task]
            valid = target.isfinite()
            error = (self.heads[task](features) - target.nan_to_num()).square() * valid
            losses[task] = self.scales[task] * error.sum() / valid.sum().clamp(min=1)
        return losses

    def log(self, *args: Any, **kwargs: Any) -> None:
        """Log nothing: it would take most of the time."""


def batch_at(position: int, rank: int) -> Part:
    """Samples with some of the tasks; one in seven tasks has no target.

    The first batch after a resume has one task, another one from life to life and rank to rank.
    """
    generator = torch.Generator().manual_seed(10 * position + rank)
    x = torch.randn(4, 6, generator=generator)
    truth = torch.linspace(-1, 1, 36).view(3, 6, 2)
    chosen = torch.rand(3, generator=generator) < 0.6
    if position % PERIOD == SAVED or not chosen.any():
        chosen = torch.arange(3) == (position // PERIOD + rank) % 3
    empty = torch.rand(3, generator=generator) < 1 / 7
    batch = {"x": x}
    for task, weight, is_chosen, is_empty in zip(TASKS, truth, chosen, empty, strict=True):
        if is_chosen:
            target = torch.sin(x @ weight)
            batch[task] = torch.full_like(target, torch.nan) if is_empty else target
    return batch


class Ending(L.Callback):
    """Kills the process after a step."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


class Memory(L.Callback):
    """The most memory that was in use up to some steps, in kB, and the tensors that were alive."""

    def __init__(self, steps: Sequence[int]) -> None:
        self.steps = steps
        self.kilobytes: list[int] = []
        self.tensors: list[int] = []

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step in self.steps:
            gc.collect()
            # The list of all objects takes megabytes: it is part of both peaks.
            self.tensors.append(sum(isinstance(item, Tensor) for item in gc.get_objects()))
            self.kilobytes.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def live(life: Life) -> None:
    """Train until the end, or until the process is killed."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(life.rank)
    weighting = RULES[life.name]()
    assert weighting is not None
    saver = ModelCheckpoint(
        life.folder,
        filename="last",
        every_n_train_steps=PERIOD // 4,
        enable_version_counter=False,
    )
    memory = Memory([WARM, life.steps])
    callbacks = [weighting, saver, memory]
    if life.kill_at is not None:
        callbacks.append(Ending(life.kill_at))
    module = Masked(torch.optim.Adam, lr=1e-3)
    trainer = quiet_trainer(
        callbacks=callbacks,
        max_epochs=-1,
        max_steps=life.steps,
        enable_checkpointing=True,
        devices=life.ranks,
        strategy="ddp" if life.ranks > 1 else "auto",
    )
    loader = Stream(lambda position: batch_at(position, life.rank), PERIOD)
    trainer.fit(module, loader, ckpt_path=life.checkpoint())
    result = {
        "parameters": parameters(module),
        "kilobytes": memory.kilobytes,
        "tensors": memory.tensors,
    }
    torch.save(result, Path(life.folder) / f"result of {life.rank}.pt")


def started(life: Life) -> list[Any]:
    """The processes of all ranks."""
    os.environ["MASTER_PORT"] = str(free_port())
    os.environ["MASTER_ADDR"] = "localhost"
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=live, args=(life._replace(rank=r),)) for r in range(life.ranks)]
    for rank in ranks:
        rank.start()
    return ranks


def ended(ranks: Sequence[Any]) -> set[int]:
    """How the processes have ended: 0, or the signal with a minus."""
    for rank in ranks:
        rank.join()
    return {rank.exitcode for rank in ranks}


def results(life: Life) -> list[dict[str, Any]]:
    """What each rank has saved; nothing if it has failed."""
    files = sorted(Path(life.folder).glob("result of *.pt"))
    return [torch.load(file) for file in files]


def soak(name: str, ranks: int, steps: int) -> dict[str, Any]:
    """An undisturbed run, and beside it one that is killed again and again."""
    with tempfile.TemporaryDirectory() as straight, tempfile.TemporaryDirectory() as killed:
        whole = Life(name, straight, rank=0, ranks=ranks, steps=steps, kill_at=None)
        undisturbed = started(whole)
        ends = []
        for kill_at in (*range(KILLED, steps, PERIOD), None):
            end = ended(started(whole._replace(folder=killed, kill_at=kill_at)))
            ends.append(end)
            if end != ({0} if kill_at is None else {-signal.SIGKILL}):
                break
        return {
            "ends": [ended(undisturbed), *ends],
            "undisturbed": results(whole),
            "killed": results(whole._replace(folder=killed)),
        }


def main() -> None:
    file, ranks, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    names = ONE_OF_EACH_FAMILY if ranks == 1 else ON_TWO_RANKS
    torch.save({name: soak(name, ranks, steps) for name in names}, file)


if __name__ == "__main__":
    main()
