"""The trivial predictor, which has one prediction for all pixels of all images."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_mtl.distributed import sum_over_ranks, world_size
from lightning_mtl.evaluation.evaluation import Evaluation
from lightning_mtl.evaluation.task_metrics import TaskMetrics
from lightning_mtl.tasks import Task

__all__ = ["Results", "target_means", "trivial_results"]

Results = Mapping[str, Mapping[str, Tensor]]
"""The value of each metric of each task."""


def trivial_results(trainer: L.Trainer, tasks: Mapping[str, Task]) -> Results:
    """What the trivial predictor gives for each metric of each task; all ranks call it together.

    Args:
        trainer: whose training and validation batches it is computed from.
        tasks: by their names.
    """
    train: Any = trainer.train_dataloader
    val: Any = trainer.val_dataloaders
    if not isinstance(train, DataLoader) or not isinstance(val, DataLoader):
        return {}
    device = trainer.strategy.root_device
    means = target_means(tasks, islice(train, _limit(trainer.num_training_batches)), device)
    evaluation = Evaluation({name: TaskMetrics(task) for name, task in tasks.items()})
    for batch in islice(val, _limit(trainer.num_val_batches[0])):
        for name in means.keys() & batch.keys():
            task = tasks[name]
            prediction = task.constant(means[name], batch[name])
            evaluation.update({name: (prediction, task.metric_target(batch), batch[name])})
    if world_size() > 1:
        # Batches were never moved; only what the ranks exchange has to be on their device.
        for metric in evaluation.metrics.values():
            metric.to(device)
    return evaluation.compute()


def target_means(
    tasks: Mapping[str, Task], batches: Iterable[dict[str, Any]], device: torch.device
) -> dict[str, Tensor]:
    """The mean target of every task that any rank has targets for; all ranks call it together.

    Args:
        tasks: by their names.
        batches: of training samples, on the host.
        device: where the ranks exchange what they have.
    """
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
