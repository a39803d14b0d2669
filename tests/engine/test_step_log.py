"""What is logged of a step, and what of it the progress bar shows."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from lightning_mtl.callbacks import (
    AlternatingUpdates,
    EqualWeighting,
    GradientNoiseMonitor,
    GradNorm,
    MaxGNR,
)
from tests.support.toy import TASKS, Toy, quiet_trainer, toy_loader

TOTALS = {"train/total_loss", "train/weighted_loss"}
DETAILS = {f"train/{kind}/{task}" for kind in ("loss", "weight") for task in TASKS}


def fitted(
    folder: Path, log_tasks: bool, prog_bar: bool, callbacks: Sequence[L.Callback] = ()
) -> tuple[Toy, L.Trainer]:
    module = Toy()
    module.log_tasks, module.prog_bar = log_tasks, prog_bar
    trainer = quiet_trainer(
        callbacks=list(callbacks),
        max_steps=3,
        logger=CSVLogger(folder),
        log_every_n_steps=1,
    )
    trainer.fit(module, toy_loader())
    return module, trainer


def keys(values: dict[str, Any]) -> set[str]:
    return set(values) - {"epoch", "step"}


@pytest.mark.parametrize(
    ("log_tasks", "prog_bar", "expected"),
    [
        (True, True, TOTALS | DETAILS),
        (True, False, TOTALS | DETAILS),
        (False, True, TOTALS),
        (False, False, set()),
    ],
    ids=["all", "no bar", "no tasks", "neither"],
)
def test_the_module_chooses_what_is_logged(
    tmp_path: Path, log_tasks: bool, prog_bar: bool, expected: set[str]
) -> None:
    module, trainer = fitted(tmp_path, log_tasks, prog_bar)
    assert keys(trainer.logged_metrics) == expected
    assert keys(trainer.progress_bar_metrics) == ({"total"} if prog_bar else set())
    assert set(module.task_weights) == set(TASKS)
    if not expected:
        assert not trainer.callback_metrics


@pytest.mark.parametrize(
    ("build", "shown"),
    [
        (GradNorm, {"total", "weighted"}),
        (EqualWeighting, {"total"}),
        (AlternatingUpdates, {"total"}),
    ],
    ids=["weights", "equal weights", "turns"],
)
def test_the_bar_shows_the_weighted_sum_where_it_differs(
    tmp_path: Path, build: Callable[[], L.Callback], shown: set[str]
) -> None:
    trainer = fitted(tmp_path, True, True, [build()])[1]
    bar = trainer.progress_bar_metrics
    assert keys(bar) == shown
    logged = {"total": "train/total_loss", "weighted": "train/weighted_loss"}
    assert all(
        bar[name] == pytest.approx(float(trainer.logged_metrics[logged[name]])) for name in bar
    )


def test_what_a_weighting_says_of_the_tasks_is_logged_with_them(tmp_path: Path) -> None:
    def said(log_tasks: bool) -> bool:
        trainer = fitted(tmp_path, log_tasks, True, [MaxGNR(warmup_steps=0)])[1]
        return any("gnr" in key for key in trainer.logged_metrics)

    assert said(True)
    assert not said(False)


def test_a_monitor_is_logged_in_any_case(tmp_path: Path) -> None:
    trainer = fitted(tmp_path, False, False, [GradientNoiseMonitor(every_n_steps=1)])[1]
    found = keys(trainer.logged_metrics)
    assert {f"train/noise/gradient_norm/{task}" for task in TASKS} <= found
    assert all(key.startswith("train/noise/") for key in found)


@pytest.mark.parametrize(
    ("measured", "written", "expected"),
    [
        (5, 5, {4: 0, 9: 5, 14: 10}),
        (4, 10, {9: 8}),
        (10, 3, {2: 0, 11: 10}),
        (1, 4, {3: 3, 7: 7, 11: 11, 15: 15}),
    ],
    ids=["same interval", "more often", "more rarely", "every step"],
)
def test_the_next_row_has_what_a_monitor_has_measured_since_the_last_one(
    tmp_path: Path, measured: int, written: int, expected: dict[int, int]
) -> None:
    monitor, norms = GradientNoiseMonitor(every_n_steps=measured), {}
    monitor.listeners.append(
        lambda found: norms.update({found.step: float(found.measured.mean[0, 0].sqrt())})
    )
    trainer = quiet_trainer(
        max_steps=17,
        max_epochs=-1,
        callbacks=[monitor],
        logger=CSVLogger(tmp_path),
        log_every_n_steps=written,
    )
    trainer.fit(Toy(), toy_loader(8))
    with (Path(trainer.logger.log_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    name = f"train/noise/gradient_norm/{TASKS[0]}"
    found = {int(row["step"]): float(row[name]) for row in rows if row[name]}
    assert found == pytest.approx({row: norms[step] for row, step in expected.items()})


class Reading(Toy):
    """Reads after each batch what is logged, as a hook of the module can."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.read: list[tuple[float, ...]] = []

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        self.losses.append(float(sum(losses.values()).detach()))
        return losses

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        trainer, name = self.trainer, "train/total_loss"
        metrics = (trainer.callback_metrics, trainer.logged_metrics)
        shown = trainer.progress_bar_metrics["total"]
        self.read.append((*(float(values[name]) for values in metrics), float(shown)))


@pytest.mark.parametrize("interval", [1, 3, 50])
def test_every_step_is_read_and_those_of_the_interval_are_written(
    tmp_path: Path, interval: int
) -> None:
    module = Reading()
    trainer = quiet_trainer(
        max_steps=7, max_epochs=-1, logger=CSVLogger(tmp_path), log_every_n_steps=interval
    )
    trainer.fit(module, toy_loader(8))
    assert module.read == [pytest.approx((loss,) * 3) for loss in module.losses]
    written = {}
    if interval < 7:
        with (Path(trainer.logger.log_dir) / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        written = {int(row["step"]): float(row["train/total_loss"]) for row in rows}
    steps = range(interval - 1, 7, interval)
    assert written == pytest.approx({step: module.losses[step] for step in steps})
