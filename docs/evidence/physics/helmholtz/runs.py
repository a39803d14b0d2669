"""The runs of the comparison: one training each, whose result is a file."""

import json
import logging
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader

from helmholtz.budget import CpuBudget
from helmholtz.methods import weighting
from helmholtz.network import TASKS, HelmholtzNetwork, relative_error
from helmholtz.problem import Points, grid_points, held_out_points


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        method: one of `METHODS`.
        lr: the learning rate at the start.
        seed: of the initial parameters and of all points but those that errors are measured at.
        seconds: its CPU time.
        residual: the weight of the residual, of fixed weights.
    """

    method: str
    lr: float
    seed: int
    seconds: float
    residual: float | None = None

    @property
    def name(self) -> str:
        """The name of its file, without what is the same for all runs of a folder."""
        weight = "" if self.residual is None else f"_w{self.residual:g}"
        return f"{self.method}{weight}_lr{self.lr:g}_seed{self.seed}"


@dataclass(frozen=True)
class Result:
    """What came of a run.

    Attributes:
        run: which.
        steps: of the optimizer, within its time.
        held_out_error: the relative L2 error at the points by which settings are chosen.
        test_error: that on the grid, by which methods are compared.
        weights: of each task, the mean over the last hundred steps.
    """

    run: Run
    steps: int
    held_out_error: float
    test_error: float
    weights: dict[str, float]


def results(runs: Sequence[Run], folder: Path, jobs: int) -> Iterator[Result]:
    """The results of runs, in their order. Those whose files exist are read, the others trained.

    Args:
        runs: which.
        folder: of the files; it is made if it is missing.
        jobs: how many processes train; 1 for this one alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if jobs == 1:
        for run in runs:
            _complete(run, folder)
            yield _read(run, folder)
        return
    # Spawned, as a forked process may wait forever for a thread of torch that it has not.
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        futures = [pool.submit(_complete, run, folder) for run in runs]
        for run, future in zip(runs, futures, strict=True):
            future.result()
            yield _read(run, folder)


def train(run: Run) -> Result:
    """Train once, on one thread, and measure the errors."""
    L.seed_everything(run.seed, verbose=False)
    network, recent = HelmholtzNetwork(run.lr), RecentWeights()
    with _alone_and_quiet():
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=-1,
            callbacks=[weighting(run.method, run.residual), recent, CpuBudget(run.seconds)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(network, DataLoader(Points(run.seed), batch_size=None))
    weights = recent.mean().tolist()
    return Result(
        run,
        trainer.global_step,
        relative_error(network, held_out_points()),
        relative_error(network, grid_points()),
        dict(zip(TASKS, weights, strict=True)),
    )


class RecentWeights(L.Callback):
    """Keeps the weights of the last hundred steps."""

    def __init__(self) -> None:
        self.rows: deque[Float[Tensor, " K"]] = deque(maxlen=100)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        """Keep the weights of a step. Called after it."""
        self.rows.append(torch.stack([pl_module.task_weights[task] for task in TASKS]))

    def mean(self) -> Float[Tensor, " K"]:
        """The mean weight of each task."""
        return torch.stack(list(self.rows)).mean(0)


@contextmanager
def _alone_and_quiet() -> Iterator[None]:
    """One thread, as several would count several times, and no advice about small runs."""
    threads, logger = torch.get_num_threads(), logging.getLogger("lightning.pytorch")
    level = logger.level
    torch.set_num_threads(1)
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers")
            # Lightning's own, about a function of torch that it calls.
            warnings.filterwarnings("ignore", category=FutureWarning, module="lightning")
            yield
    finally:
        torch.set_num_threads(threads)
        logger.setLevel(level)


def _file(run: Run, folder: Path) -> Path:
    return folder / f"{run.name}.json"


def _complete(run: Run, folder: Path) -> None:
    """Train unless there is a result. An interrupted run leaves no half of a file."""
    file = _file(run, folder)
    if not file.exists():
        part = file.with_suffix(".part")
        part.write_text(json.dumps(asdict(train(run)), indent=1), encoding="utf-8")
        part.replace(file)


def _read(run: Run, folder: Path) -> Result:
    stored = json.loads(_file(run, folder).read_text(encoding="utf-8"))
    found = Run(**stored.pop("run"))
    if found != run:
        raise ValueError(
            f"`{_file(run, folder)}` should be the result of {run}. Found {found}. Use the"
            " `--seconds` of the runs in this folder, or another folder."
        )
    return Result(found, **stored)
