"""`DensePrediction`: a ready-made module for tasks that predict something at every pixel."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from lightning_mtl.metrics import multi_task_performance
from lightning_mtl.models import DenseNetwork, SharedEncoder
from lightning_mtl.module import MultiTaskModule
from lightning_mtl.tasks import Task

Batch = dict[str, Tensor]


class DensePrediction(MultiTaskModule):
    """Trains one network for several tasks on batches `{"image": ..., <task>: target, ...}`.

    A task whose target is not in a batch is absent from that step. Validation and test log
    `val/<task>/<metric>` and, with `baselines`, `val/delta_mtl`.

    Args:
        tasks: what to predict.
        network: builds the network from the output channels of the tasks.
        optimizer: builds the optimizer from the parameters.
        scheduler: builds a learning rate schedule from the optimizer.
        scheduler_interval: whether the schedule counts epochs ("epoch") or optimizer steps
            ("step").
        baselines: primary metric of a single-task run for each task, for Delta_MTL.

    Raises:
        ValueError: if two tasks have the same name, or `baselines` does not name all tasks.
    """

    def __init__(
        self,
        tasks: list[Task],
        network: Callable[[dict[str, int]], DenseNetwork] = SharedEncoder,
        optimizer: OptimizerCallable = torch.optim.Adam,
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: str = "epoch",
        baselines: dict[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.tasks = {task.name: task for task in tasks}
        if len(self.tasks) < len(tasks):
            names = [task.name for task in tasks]
            raise ValueError(f"Every task should have a name of its own. Found {names}.")
        if baselines is not None and set(baselines) != set(self.tasks):
            raise ValueError(
                f"`baselines` should give one number for each of {sorted(self.tasks)}. Found"
                f" {sorted(baselines)}."
            )
        self.task_names = tuple(self.tasks)
        self.network = network({name: task.out_channels for name, task in self.tasks.items()})
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scheduler_interval = scheduler_interval
        self.baselines = baselines
        self.val_metrics = self._fresh_metrics()
        self.test_metrics = self._fresh_metrics()

    def forward(self, image: Float[Tensor, "N 3 H W"]) -> dict[str, Float[Tensor, "N C H W"]]:
        """Raw predictions of every task."""
        return self.network(image)

    def task_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of every task that has targets in the batch."""
        self._check_targets(batch)
        predictions = self(batch["image"])
        return {
            name: task.loss(predictions[name], batch[name])
            for name, task in self.tasks.items()
            if name in batch
        }

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the metrics."""
        self._measure(self.val_metrics, batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the metrics."""
        self._measure(self.test_metrics, batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Raw predictions of every task."""
        return self(batch["image"])

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the epoch."""
        self._log_metrics("val", self.val_metrics)

    def on_test_epoch_end(self) -> None:
        """Log the metrics of the epoch."""
        self._log_metrics("test", self.test_metrics)

    def configure_optimizers(self) -> Any:
        """The given optimizer, with the given schedule."""
        optimizer = self.optimizer(self.parameters())
        if self.scheduler is None:
            return optimizer
        schedule = {"scheduler": self.scheduler(optimizer), "interval": self.scheduler_interval}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _fresh_metrics(self) -> nn.ModuleDict:
        return nn.ModuleDict({name: task.metrics() for name, task in self.tasks.items()})

    def _check_targets(self, batch: Batch) -> None:
        """Look at targets on the host; on a device it would be a sync, and data sets check too."""
        for name, task in self.tasks.items():
            if name in batch and batch[name].device.type == "cpu":
                task.check(batch[name])

    def _measure(self, metrics: nn.ModuleDict, batch: Batch) -> None:
        self._check_targets(batch)
        predictions = self(batch["image"])
        for name, task in self.tasks.items():
            if name in batch:
                metric: Any = metrics[name]
                metric.update(predictions[name], task.metric_target(batch))

    def _log_metrics(self, stage: str, metrics: nn.ModuleDict) -> None:
        results: dict[str, dict[str, Tensor]] = {}
        for name, metric in metrics.items():
            results[name] = metric.compute()  # type: ignore[operator]
            metric.reset()  # type: ignore[operator]
            # Already the same on every rank: the metrics have summed their own states.
            self.log_dict({f"{stage}/{name}/{key}": value for key, value in results[name].items()})
        primary = {
            name: results[name][task.primary_metric]
            for name, task in self.tasks.items()
            if task.primary_metric in results[name]
        }
        if self.baselines is not None and set(primary) == set(self.tasks):
            directions = {name: task.higher_is_better for name, task in self.tasks.items()}
            self.log(
                f"{stage}/delta_mtl", multi_task_performance(primary, self.baselines, directions)
            )
