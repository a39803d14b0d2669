"""The callback that watches a short run: losses, gradients and what is not finite in them."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

import lightning as L
import torch
from torch import Tensor

from lightning_mtl.diagnosis.record import LossSeries, NonFinite, Record
from lightning_mtl.engine.task_output import read_output
from lightning_mtl.module import MultiTaskModule
from lightning_mtl.monitors.measured_step import Measurement
from lightning_mtl.monitors.noise_monitor import GradientNoiseMonitor


class MakeTrainer(Protocol):
    """Builds a Trainer for a short run: without logs, checkpoints and pictures."""

    def __call__(self, callbacks: Sequence[L.Callback], **settings: Any) -> L.Trainer:
        """A new Trainer with these callbacks and these settings in place of its usual ones."""


class Examination(L.Callback):
    """Keeps the losses of every batch and measures the task gradients at every step.

    The run is not changed. The losses are read from what `task_losses` returns, as a step that
    refuses its losses ends before any gradient is known.

    Args:
        every_n_steps: how often to measure gradients, in optimizer steps.
    """

    def __init__(self, every_n_steps: int = 1) -> None:
        self.measurements: list[Measurement] = []
        # Its hooks are called from here, so that it draws no pictures.
        self._monitor = GradientNoiseMonitor(every_n_steps)
        self._monitor.listeners.append(self.measurements.append)
        self._steps: list[int] = []
        self._losses: list[dict[str, Tensor]] = []
        self._unlabelled: list[dict[str, Tensor]] = []
        self._tasks: tuple[str, ...] = ()
        self._shared = 0

    def record(self) -> Record:
        """Everything that was seen. Called when the run has ended, by whatever."""
        names = list(self._tasks) or list(dict.fromkeys(k for row in self._losses for k in row))
        losses = _table(self._losses, names)
        absent = _table(self._unlabelled, names) == 0
        series = LossSeries(tuple(names), losses.masked_fill(absent, torch.nan).numpy())
        return Record(
            losses=series,
            measurements=self.measurements,
            shared=self._shared,
            steps=len(set(self._steps)),
            events=self._events(names),
        )

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Start to watch the module. Called as each stage begins."""
        if stage != "fit":
            return
        self._monitor.setup(trainer, pl_module, stage)
        assert isinstance(pl_module, MultiTaskModule)
        task_losses = pl_module.task_losses
        # An attribute of the instance hides the method of its class until it is removed.
        vars(pl_module)["task_losses"] = self._recorded(type(pl_module).__name__, task_losses)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave the module as it was. Called at the end of each stage."""
        vars(pl_module).pop("task_losses", None)
        self._monitor.teardown(trainer, pl_module, stage)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Leave the module as it was: Lightning skips `teardown` after an exception."""
        self._note_partition(pl_module)
        self.teardown(trainer, pl_module, "fit")

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin a new window of the monitor. Called as each epoch starts."""
        self._monitor.on_train_epoch_start(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin a new row of losses. Called before each batch."""
        self._monitor.on_train_batch_start(trainer, pl_module, batch, batch_idx)
        self._steps.append(trainer.global_step)
        self._losses.append({})
        self._unlabelled.append({})

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Note the names of the tasks and how much they share. Called after each batch."""
        self._note_partition(pl_module)

    def _note_partition(self, module: Any) -> None:
        partition = module._multi_task.partition
        if partition is not None:
            self._tasks = partition.tasks
            self._shared = sum(parameter.numel() for parameter in partition.shared)

    def _recorded(self, module: str, task_losses: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The same method, whose first evaluation for each batch is kept."""

        def recorded(batch: Any) -> Any:
            returned = task_losses(batch)
            if self._losses and not self._losses[-1]:
                output = read_output(module, returned)
                self._losses[-1] = {task: each.detach() for task, each in output.losses.items()}
                self._unlabelled[-1] = output.counts
            return returned

        return recorded

    def _events(self, names: Sequence[str]) -> list[NonFinite]:
        """What was not finite first; what breaks in later steps follows from it."""
        events = []
        for task in names:
            rows = zip(self._steps, self._losses, strict=True)
            bad = (step for step, row in rows if task in row and not bool(row[task].isfinite()))
            events += [NonFinite(task, step, "loss") for step in islice(bad, 1)]
            worse = _bad_gradients(self.measurements, task)
            events += [NonFinite(task, step, "gradient") for step in islice(worse, 1)]
        first = min((event.step for event in events), default=0)
        return [event for event in events if event.step == first]


def examine(
    make_trainer: MakeTrainer, module: MultiTaskModule, data: Any, **settings: Any
) -> Record:
    """Train for a short while, and return what was seen.

    Args:
        make_trainer: builds the Trainer.
        module: which is trained.
        data: a data module or a loader.
        **settings: of the Trainer: `max_steps`, and whatever else.

    Raises:
        Exception: what training raises, unless a loss or a gradient was not finite before.
    """
    examination = Examination()
    extra = settings.pop("callbacks", ())
    trainer = make_trainer([*extra, examination], **settings)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*smaller than the logging interval.*")
            trainer.fit(module, data)
    except (ValueError, RuntimeError):
        record = examination.record()
        if not record.events:
            raise
        return record
    return examination.record()


def _bad_gradients(measurements: Sequence[Measurement], task: str) -> Iterator[int]:
    """The steps at which the gradient of a task was not finite."""
    for measurement in measurements:
        if task in measurement.tasks:
            place = measurement.tasks.index(task)
            if not bool(measurement.measured.mean[place, place].isfinite()):
                yield measurement.step


def _table(rows: Sequence[dict[str, Tensor]], names: Sequence[str]) -> Tensor:
    """The numbers of all rows on the host, (n, K); NaN where a row has none."""
    table = torch.full((len(rows), len(names)), torch.nan, dtype=torch.float64)
    for index, row in enumerate(rows):
        if row:
            places = [names.index(task) for task in row]
            table[index, places] = torch.stack([each.double() for each in row.values()]).cpu()
    return table
