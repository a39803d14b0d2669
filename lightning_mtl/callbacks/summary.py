"""The table at the end of a run."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_mtl.dense_prediction import DensePrediction
from lightning_mtl.tasks import Task


class MetricTable(L.Callback):
    """Shows the last validation metrics beside those of a trivial predictor, when training ends.

    The trivial predictor says the same at every pixel: the most frequent class, the mean depth, the
    mean normal of the training set. What does not beat it has learned nothing.

    Args:
        trivial: whether to compute the trivial predictor; it reads the training and the validation
            set once more.
    """

    def __init__(self, trivial: bool = True) -> None:
        self.trivial = trivial

    @rank_zero_only
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: D102
        metrics = trainer.callback_metrics
        if not isinstance(pl_module, DensePrediction) or not any("val/" in key for key in metrics):
            return
        trivial = self._trivial(trainer, pl_module.tasks) if self.trivial else {}
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
        Console().print(table)

    def _trivial(self, trainer: L.Trainer, tasks: dict[str, Task]) -> dict[str, dict[str, Tensor]]:
        train: Any = trainer.train_dataloader
        val: Any = trainer.val_dataloaders
        if not isinstance(train, DataLoader) or not isinstance(val, DataLoader):
            return {}
        means = {name: _mean(task, train) for name, task in tasks.items()}
        results = {}
        for name, task in tasks.items():
            metric = task.metrics()
            for batch in val:
                mean = means[name]
                if name in batch and mean is not None:
                    metric.update(task.constant(mean, batch[name]), task.metric_target(batch))
            # These sums are of this process only, and complete: it has read every sample.
            metric.sync_on_compute = False
            results[name] = metric.compute()
        return results


def _mean(task: Task, loader: DataLoader[Any]) -> Tensor | None:
    """The mean target of a task over one epoch."""
    sums = [task.pixel_sum(batch[task.name]) for batch in loader if task.name in batch]
    if not sums:
        return None
    total = torch.stack([values for values, _ in sums]).sum(0)
    count = torch.stack([number for _, number in sums]).sum()
    return (total / count.clamp(min=1)).float()


def _formatted(value: Tensor | None) -> str:
    return "" if value is None else f"{float(value):.4g}"
