"""The callback that prints a table of metrics at the end of a run."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import lightning as L
import torch
from rich import get_console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_mtl.dense_prediction import DensePrediction
from lightning_mtl.distributed import sum_over_ranks, world_size
from lightning_mtl.tasks import Task


class MetricTable(L.Callback):
    """Shows the last validation metrics beside those of a trivial predictor, when training ends.

    The trivial predictor has one prediction for all pixels: the most frequent class, the mean
    depth, the mean normal of the training set. A network that does not beat it has learned nothing.
    It is computed from the batches of the run: those of all ranks, as many as
    `limit_train_batches` and `limit_val_batches` leave.

    Args:
        trivial: whether to compute the trivial predictor; it reads the training and the validation
            set once more.
    """

    def __init__(self, trivial: bool = True) -> None:
        self.trivial = trivial

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: D102
        metrics = trainer.callback_metrics
        if not isinstance(pl_module, DensePrediction) or not any("val/" in key for key in metrics):
            return
        # The ranks measure it together: all of them come here.
        trivial = self._trivial(trainer, pl_module.tasks) if self.trivial else {}
        if not trainer.is_global_zero:
            return
        table = Table(title="Validation", title_justify="left")
        for column in ("task", "metric", "trained", "trivial"):
            table.add_column(column, justify="left" if column in ("task", "metric") else "right")
        for name, task in pl_module.tasks.items():
            for key in task.metrics().directions:
                value = metrics.get(f"val/{name}/{key}")
                if value is not None:
                    better = "higher" if task.metrics().directions[key] else "lower"
                    table.add_row(
                        name,
                        f"{key} ({better} is better)",
                        f"{float(value):.4g}",
                        _formatted(trivial.get(name, {}).get(key)),
                    )
            table.add_section()
        if "val/delta_mtl" in metrics:
            table.add_row("all", "delta_mtl (%)", f"{float(metrics['val/delta_mtl']):+.2f}", "")
        get_console().print(table)

    def _trivial(self, trainer: L.Trainer, tasks: dict[str, Task]) -> dict[str, dict[str, Tensor]]:
        train: Any = trainer.train_dataloader
        val: Any = trainer.val_dataloaders
        if not isinstance(train, DataLoader) or not isinstance(val, DataLoader):
            return {}
        device = trainer.strategy.root_device
        means = _means(tasks, islice(train, _limit(trainer.num_training_batches)), device)
        metrics = {name: task.metrics() for name, task in tasks.items()}
        for batch in islice(val, _limit(trainer.num_val_batches[0])):
            for name, mean in means.items():
                if name in batch:
                    prediction = tasks[name].constant(mean, batch[name])
                    metrics[name].update(prediction, tasks[name].metric_target(batch))
        if world_size() > 1:
            # Batches were never moved; only what the ranks exchange has to be on their device.
            metrics = {name: metric.to(device) for name, metric in metrics.items()}
        return {name: metric.compute() for name, metric in metrics.items()}


def _means(
    tasks: Mapping[str, Task], batches: Iterable[dict[str, Any]], device: torch.device
) -> dict[str, Tensor]:
    """The mean target of every task that any rank has targets for."""
    sums: dict[str, Tensor] = {
        name: torch.zeros(2, task.out_channels, dtype=torch.float64) for name, task in tasks.items()
    }
    for batch in batches:
        for name in tasks.keys() & batch.keys():
            total, count = tasks[name].pixel_sum(batch[name])
            sums[name] += torch.stack([total, count.expand_as(total)]).to(sums[name])
    if world_size() > 1:
        sums = {name: sum_over_ranks(values.to(device)).cpu() for name, values in sums.items()}
    return {
        name: (total / count.clamp(min=1)).float()
        for name, (total, count) in sums.items()
        if count.any()
    }


def _limit(batches: float) -> int | None:
    """How many batches to read; `None` for all of a loader without a length."""
    return None if batches == float("inf") else int(batches)


def _formatted(value: Tensor | None) -> str:
    return "" if value is None else f"{float(value):.4g}"
