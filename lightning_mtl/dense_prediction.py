"""`DensePrediction`: a ready-made module for tasks that predict something at every pixel."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lightning_mtl.checks import check_choice, check_image
from lightning_mtl.distributed import union_over_ranks
from lightning_mtl.engine.task_output import TaskLoss
from lightning_mtl.evaluation.evaluation import Evaluation
from lightning_mtl.evaluation.hooks import EvaluationHooks
from lightning_mtl.evaluation.task_metrics import TaskMetrics
from lightning_mtl.metrics import MeanLoss
from lightning_mtl.models import DeeplySupervisedNetwork, MultiTaskNetwork, SharedEncoder
from lightning_mtl.models.compiling import compile_parts, differentiable_again
from lightning_mtl.models.dense_network import DenseNetwork
from lightning_mtl.models.fused_updates import adapt_checkpoints, fuse, lay_out_gradients
from lightning_mtl.models.learning_rates import (
    check_learning_rates,
    multiply_learning_rates,
    parameter_groups,
)
from lightning_mtl.module import MultiTaskModule
from lightning_mtl.tasks import Task

Batch = dict[str, Tensor]
Interval = Literal["epoch", "step"]


class DensePrediction(MultiTaskModule):
    """Trains one network for several tasks on batches `{"image": ..., <task>: target, ...}`.

    Where a network predicts a task several times, as networks with deep supervision do, the loss of
    the task is the sum over its predictions; validation looks at the last one. A task whose target
    is not in a batch is absent from that step; one that is absent from the whole first epoch is
    warned of. Validation and test log `val/<task>/<metric>` and, with `baselines`, `val/delta_mtl`;
    validation also logs the raw losses `val/loss/<task>` and, where every task has one, their sum
    `val/total_loss`. Losses are means over all labels of the data set, or over its images where a
    task does not count its labels (`Task.count`).

    A checkpoint holds parameters and not what they belong to, which is code. The way back is that
    of any LightningModule with such arguments: `DensePrediction.load_from_checkpoint(path,
    tasks=..., network=...)` with those of the run, or, after a run of the command line,
    `lightning-mtl test --config <run>/config.yaml --ckpt_path <run>/checkpoints/<name>.ckpt`.

    Args:
        tasks: what to predict.
        network: builds the network from the output channels of the tasks: a class, or a
            `functools.partial` of one. Any module will do that maps the input to a dict of
            predictions; a `MultiTaskNetwork` may also multiply learning rates and add to losses.
        optimizer: builds the optimizer from the parameters.
        scheduler: builds a learning rate schedule from the optimizer.
        scheduler_interval: whether the schedule counts epochs ("epoch") or optimizer steps
            ("step").
        baselines: primary metric of a single-task run for each task, for Delta_MTL.
        scheduler_monitor: the logged value that a `ReduceLROnPlateau` looks at, such as
            "val/total_loss".
        input: the entry of a batch that the network is given.
        lr: the learning rate, in place of that of the optimizer; what a `LearningRateFinder` sets.
        log_tasks: whether to log the loss and the weight of each task at each step.
        prog_bar: whether the progress bar shows the total of the losses.
        channels_last: whether images, and the weights of convolutions, lie in memory with the
            channels of a pixel side by side, which is faster on GPUs in bf16 or fp16.
        compile: whether `torch.compile` compiles the parts of the network, such as the encoder and
            each decoder, as training starts; or its arguments, such as `{dynamic: false}`. Each is
            compiled on its own: in a network that is compiled as a whole the tasks cannot be told
            apart. Checkpoints are the same as without.
        fused: whether the optimizer, one of torch that can, updates all parameters in one kernel.
            Gradients may be clipped all the same, under any precision.

    Raises:
        TypeError: if `network` is a network already.
        ValueError: if there is no task, two have the same name or one cannot be a key, if
            `baselines` does not name all tasks or one is not positive and finite, or if
            `scheduler_interval` is another word; when a fit begins, if the network has no parts to
            compile or the optimizer no fused step.
    """

    def __init__(
        self,
        tasks: list[Task],
        network: Callable[[dict[str, int]], nn.Module] = SharedEncoder,
        optimizer: OptimizerCallable = torch.optim.Adam,
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Interval = "epoch",
        baselines: dict[str, float] | None = None,
        scheduler_monitor: str | None = None,
        input: str = "image",
        lr: float | None = None,
        log_tasks: bool = True,
        prog_bar: bool = True,
        channels_last: bool = False,
        compile: bool | dict[str, Any] = False,
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.tasks = {task.name: task for task in tasks}
        self.input = input
        self.log_tasks, self.prog_bar = log_tasks, prog_bar
        _check_names([task.name for task in tasks], input)
        if isinstance(network, nn.Module):
            raise TypeError(
                "`DensePrediction(network=)` should build a network from the output channels of"
                f" the tasks. Found a network, `{type(network).__name__}`. Pass the class, or"
                f" `functools.partial({type(network).__name__}, ...)`."
            )
        check_choice(
            "DensePrediction", "scheduler_interval", scheduler_interval, get_args(Interval)
        )
        self.task_names = tuple(self.tasks)
        self.network = network({name: task.out_channels for name, task in self.tasks.items()})
        self.channels_last, self.fused = channels_last, fused
        arguments = {} if isinstance(compile, bool) else compile
        self.compile_options = None if compile is False else arguments
        if channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scheduler_interval = scheduler_interval
        self.scheduler_monitor = scheduler_monitor
        self.lr = lr
        self.baselines = baselines
        # Refuses baselines that do not fit, before anything is trained.
        Evaluation(self.task_metrics(), baselines, type(self).__name__)
        self.val_losses = nn.ModuleDict({name: MeanLoss() for name in self.tasks})
        self._entries: set[str] | None = None

    def forward(self, image: Float[Tensor, "N ..."]) -> dict[str, Float[Tensor, "N C ..."]]:
        """The predictions of every task: logits, metres, vectors of any length."""
        predictions = self.network(self._laid_out(image))
        return {name: self._activate(name, raw) for name, raw in predictions.items()}

    def task_losses(self, batch: Batch) -> dict[str, TaskLoss]:
        """The loss of every task that has targets in the batch, called for each training batch.

        With it comes the number of labels that it is a mean over, for tasks that count theirs.
        """
        self._check_batch(batch)
        if self._entries is not None:
            self._entries.update(batch)
        found = list(self._losses(self._supervised(batch[self.input]), batch))
        losses = {name: loss for name, loss, _ in found}
        if isinstance(self.network, MultiTaskNetwork):
            losses = self.network.training_losses(losses)
        return {
            name: losses[name] if count is None else (losses[name], count)
            for name, _, count in found
        }

    def setup(self, stage: str) -> None:
        """Compile the parts of the network for a fit. Called before each stage."""
        super().setup(stage)
        if stage == "fit" and self.compile_options is not None:
            owner = type(self).__name__
            compile_parts(owner, self.network, self.task_names, self.compile_options)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the task losses and their total. Called for each batch."""
        with self._compiling():
            return super().training_step(batch, batch_idx)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Hand the scaled total to the engine. Called after each `training_step`."""
        with self._compiling():
            super().backward(loss, *args, **kwargs)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Prepare the gradients for a fused step, called after the last backward pass before it."""
        lay_out_gradients(optimizer)

    def on_train_start(self) -> None:
        """Begin to record which entries the batches have, called when training starts."""
        self._entries = set()
        # A run that resumes within an epoch does not start that epoch again.
        self._start_epoch()

    def on_train_epoch_start(self) -> None:
        """Tell the network how far the training is, called when an epoch starts."""
        self._start_epoch()

    def on_train_epoch_end(self) -> None:
        """Warn, after the first epoch, of tasks that no batch of any rank had a target for."""
        if self._entries is None:
            return
        entries = union_over_ranks(sorted(self._entries))
        self._entries = None
        for name in self.tasks:
            if name not in entries:
                rank_zero_warn(
                    f"The task `{name}` had no target in the whole epoch, so it was not trained."
                    f" Expected batches with an entry `{name}`. Found the entries"
                    f" {sorted(entries)}. Give the task the name of its entry, or the data that"
                    " entry."
                )

    def task_metrics(self) -> dict[str, TaskMetrics]:
        """New metrics of every task, called once for validation and once for test."""
        return {name: TaskMetrics(task) for name, task in self.tasks.items()}

    def task_predictions(self, batch: Batch) -> dict[str, tuple[Tensor, Any, Tensor]]:
        """What the metrics compare, for every task that has targets in the batch.

        Called for each batch of validation and test.
        """
        self._check_batch(batch)
        predictions = self(batch[self.input])
        return {
            name: (predictions[name], task.metric_target(batch), batch[name])
            for name, task in self.tasks.items()
            if name in batch
        }

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the metrics and the mean losses of the validation."""
        measured = self.task_predictions(batch)
        EvaluationHooks.of(self.trainer, self).evaluation("val").update(measured)
        finals = {name: [prediction] for name, (prediction, *_) in measured.items()}
        for name, loss, count in self._losses(finals, batch):
            mean: Any = self.val_losses[name]
            mean.update(loss, len(batch[self.input]) if count is None else count)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """The predictions of every task, called by `Trainer.predict` for each batch."""
        self._check_input(batch)
        return self(batch[self.input])

    def on_validation_epoch_end(self) -> None:
        """Log the losses of the validation, called after its last batch."""
        losses: dict[str, Tensor] = {}
        for name, mean in self.val_losses.items():
            losses |= {f"val/loss/{name}": loss for loss in mean.compute().values()}  # type: ignore[operator]
            mean.reset()  # type: ignore[operator]
        if len(losses) == len(self.tasks):
            losses["val/total_loss"] = torch.stack(list(losses.values())).sum()
        # Already the same on every rank; without the mean over them Lightning warns of every key.
        self.log_dict(losses, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """The given optimizer with the given schedule, called when a fit begins.

        Raises:
            ValueError: if the schedule needs something to monitor and has nothing, if it gives all
                parameters one learning rate where the network multiplies that of some, or if the
                optimizer has no fused step and should.
        """
        groups = parameter_groups(self)
        optimizer = self.optimizer(self.parameters() if len(groups) == 1 else groups)
        if self.lr is not None:
            for group in optimizer.param_groups:
                group["lr"] = self.lr
        if self.fused:
            fuse(type(self).__name__, optimizer)
        adapt_checkpoints(optimizer)
        multiply_learning_rates(optimizer)
        if self.scheduler is None:
            return optimizer
        scheduler, monitor = self.scheduler(optimizer), self.scheduler_monitor
        check_learning_rates(optimizer, scheduler)
        if isinstance(scheduler, ReduceLROnPlateau) and monitor is None:
            raise ValueError(
                "`DensePrediction(scheduler_monitor=)` should name the logged value that"
                " `ReduceLROnPlateau` looks at. Found none. Set it, for instance to"
                ' "val/total_loss".'
            )
        schedule: dict[str, Any] = {
            "scheduler": scheduler,
            "interval": self.scheduler_interval,
            "monitor": monitor,
        }
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _compiling(self) -> AbstractContextManager[None]:
        return nullcontext() if self.compile_options is None else differentiable_again()

    def _laid_out(self, image: Tensor) -> Tensor:
        """The image as the network has its weights; features of another rank stay as they are."""
        if self.channels_last and image.ndim == 4:
            return image.contiguous(memory_format=torch.channels_last)
        return image

    def _start_epoch(self) -> None:
        if isinstance(self.network, MultiTaskNetwork):
            epochs = self.trainer.max_epochs or 0
            done = (self.current_epoch + 1) / epochs if epochs > 0 else 1.0
            self.network.start_epoch(min(done, 1.0))

    def _check_input(self, batch: Batch) -> None:
        if isinstance(self.network, DenseNetwork):
            check_image(type(self.network).__name__, batch[self.input])

    def _check_batch(self, batch: Batch) -> None:
        self._check_input(batch)
        for name, task in self.tasks.items():
            if name in batch:
                task.check(batch[name])

    def _supervised(self, image: Tensor) -> dict[str, list[Tensor]]:
        """All predictions of each task that are trained."""
        if isinstance(self.network, DeeplySupervisedNetwork):
            return {
                name: [self._activate(name, raw) for raw in outputs]
                for name, outputs in self.network.supervised(self._laid_out(image)).items()
            }
        return {name: [prediction] for name, prediction in self(image).items()}

    def _activate(self, name: str, raw: Tensor) -> Tensor:
        """The prediction of a task; a network may have outputs besides, which stay as they are."""
        return self.tasks[name].activate(raw) if name in self.tasks else raw

    def _losses(
        self, predictions: dict[str, list[Tensor]], batch: Batch
    ) -> Iterator[tuple[str, Tensor, Tensor | None]]:
        """The name, the loss and the number of labels of each task that the batch has."""
        for name, task in self.tasks.items():
            if name in batch:
                target = batch[name]
                losses = [task.loss(prediction, target) for prediction in predictions[name]]
                loss = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
                yield name, loss, task.count(target)


def _check_names(names: Sequence[str], input_name: str) -> None:
    """Raise unless the names can be keys of a batch, of a `ModuleDict` and of a log."""
    if not names:
        raise ValueError("`DensePrediction` should have at least one task. Found none.")
    if len(set(names)) < len(names):
        raise ValueError(f"Every task should have a name of its own. Found {list(names)}.")
    for name in names:
        if not name or "." in name or name == input_name or hasattr(nn.ModuleDict(), name):
            raise ValueError(
                "The name of a task should be no word that a module has for itself, such as"
                f' `train`, have no dot, and not be "{input_name}". Found {name!r}. Choose another,'
                f' such as "{name.replace(".", "_") or "task"}_map".'
            )
