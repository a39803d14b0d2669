"""`MultiTaskModule`: a LightningModule of several losses."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.nn import Parameter

from lightning_mtl.distributed import union_over_ranks
from lightning_mtl.engine.balancer import Balancer, Observer, PlainSum
from lightning_mtl.engine.graph import reach, root_edge
from lightning_mtl.engine.loss_guard import LossGuard, check_automatic, check_finite, check_losses
from lightning_mtl.engine.micro_batch import Step
from lightning_mtl.engine.module_hooks import Bookkeeping
from lightning_mtl.engine.shared_parameters import Partition
from lightning_mtl.engine.window import Window


class MultiTaskModule(L.LightningModule, ABC):
    """A LightningModule with one loss per task, in automatic optimization.

    Write `task_losses` and `configure_optimizers`, then train as ever. Attach one weighting from
    `lightning_mtl.callbacks` to the Trainer to balance the tasks; without one their losses are
    summed.

    Logged at each optimizer step, as means over its micro-batches and ranks, free of any loss
    scale: `train/loss/<task>` (raw), `train/weight/<task>` (as applied), `train/total_loss` (the
    sum of the raw losses) and `train/weighted_loss` (of the weighted ones).

    Attributes:
        task_names: the names of all tasks, in their order. By default those of the first batch (of
            all ranks); name them if some may be absent from it.
        task_weights: the weights that were applied last. A task that was absent has none.

    Example:
        >>> class Regression(MultiTaskModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.trunk, self.a, self.b = (torch.nn.Linear(4, n) for n in (4, 1, 1))
        ...     def task_losses(self, batch):
        ...         x, y, z = batch
        ...         features = self.trunk(x).relu()
        ...         mse = torch.nn.functional.mse_loss
        ...         return {"a": mse(self.a(features), y), "b": mse(self.b(features), z)}
        ...     def configure_optimizers(self):
        ...         return torch.optim.Adam(self.parameters())
    """

    task_names: Sequence[str] = ()

    def __init__(self) -> None:
        super().__init__()
        self.task_weights: dict[str, Tensor] = {}
        self.balancer: Balancer = PlainSum()
        self.observers: list[Observer] = []
        self._partition: Partition | None = None
        self._window = Window()
        self._step: Step | None = None
        self._report: dict[str, Tensor] = {}
        self._losses: dict[tuple[str, int], Tensor] = {}
        self._logged: set[str] = set()
        self._guard = LossGuard()

    @abstractmethod
    def task_losses(self, batch: Any) -> dict[str, Tensor]:
        """One differentiable scalar per task; a task without labels in `batch` is left out."""

    def shared_parameters(self) -> list[Parameter]:
        """The parameters whose gradients are balanced.

        By default those that at least two tasks reach in the autograd graph, known from the first
        training step on. Override it to choose them yourself: what several tasks use beside them is
        then trained by the plain sum.
        """
        return [] if self._partition is None else self._partition.shared

    def shared_features(self) -> Tensor | Sequence[Tensor] | None:
        """The shared representation of the current step, for `gradients="features"`.

        By default `None`: the tensors at which the task graphs part.
        """
        return None

    def setup(self, stage: str) -> None:
        """Check that Lightning will train it. Lightning calls it."""
        if stage == "fit" and type(self).training_step is MultiTaskModule.training_step:
            check_automatic(self)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Compute the task losses and their total. Lightning calls it."""
        check_automatic(self)
        if Bookkeeping.attach(self.trainer, self):
            self.start_window()
        self.balancer.prepare(self.device)
        losses = self.task_losses(batch)
        check_losses(type(self).__name__, losses)
        before = self._partition
        if before is None or not before.current:
            self._partition = self._part(losses)
        partition = self._partition
        assert partition is not None
        self._check_names(losses, partition)
        present = [task for task in partition.tasks if task in losses]
        values = torch.stack([losses[task].detach() for task in present])
        number = self.trainer.global_step
        positive_for = type(self.balancer).__name__ if self.balancer.positive_losses else None
        self._guard.watch(present, values, number, positive_for)
        if not partition.complete:
            self._learn(partition, before or partition, losses, values.device)
        active = self.balancer.active(partition.tasks)
        losses = {task: losses[task] for task in present if task in active}
        # Lightning offers no public way to ask whether the optimizer steps after this batch.
        last = not self.trainer.fit_loop._should_accumulate()
        model: Any = self.trainer.strategy.model
        # DDP that looks for unused parameters itself must not be given gradients for them.
        anchored = not getattr(model, "find_unused_parameters", False)
        self._step = Step(losses, partition, self._window, last, number, self._features, anchored)
        return self.balancer.total(self._step)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        """Let the balancer step. Lightning calls it."""
        self.balancer.optimizer_step(optimizer, optimizer_closure)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Hand the scaled total to the balancer. Lightning calls it."""
        if self._step is None:
            raise RuntimeError(
                f"`{type(self).__name__}.training_step` must be the one of `MultiTaskModule`, which"
                " sets up the backward pass. Put the work of a step into `task_losses`."
            )
        # The step holds the graph: let go of it before the optimizer runs.
        step, self._step = self._step, None
        for observer in self.observers:
            observer.observe(step)
        self.balancer.backward(step, loss)
        if step.last:
            seen = [observer.conclude(step) for observer in self.observers]
            self._finish(step)
            for report in seen:
                self._report |= {f"train/{name}": value for name, value in report.items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to save what a NaN may have spoiled, where Lightning asks no callback."""
        self.check_state()

    def conclude_backward(self) -> None:
        """Catch up where a strategy, such as DeepSpeed's, has run a backward pass of its own."""
        step, self._step = self._step, None
        if step is not None:
            self.balancer.catch_up(step)
            if step.last:
                self._finish(step)

    def log_step(self) -> None:
        """Log what the last optimizer step saw."""
        if self._report:
            self._forget_absent()
            bar = {k: v for k, v in self._report.items() if "loss" in k}
            self.log_dict(bar, prog_bar=True, on_step=True, on_epoch=False, batch_size=1)
            rest = {k: v for k, v in self._report.items() if k not in bar}
            self.log_dict(rest, on_step=True, on_epoch=False, batch_size=1)
            self._report, self._losses = {}, {}

    def start_window(self) -> None:
        """Start a new window: Lightning drops what an interrupted epoch had accumulated."""
        self._window, self._report, self._losses = Window(), {}, {}

    def check_state(self) -> None:
        """Refuse to save what a NaN may have spoiled."""
        self._guard.check()
        check_finite(self.named_parameters())

    def end_fit(self) -> None:
        """Look at the last losses, and forget what belongs to this run's graph."""
        self._guard.check()
        self._partition = None

    def _forget_absent(self) -> None:
        """Drop the last values of absent tasks, which Lightning would log at this step again."""
        results: Any = self.trainer._results
        for name in self._logged - self._report.keys():
            results.pop(f"on_train_batch_end.{name}", None)
        self._logged = set(self._report)

    def _finish(self, step: Step) -> None:
        tasks = step.partition.tasks
        losses = dict(zip(step.window.tasks, step.window.losses, strict=True))
        weights = step.window.applied
        applied = {tasks[k]: weight for k, weight in sorted(weights.items())}
        # Groups of tasks that take turns add up; of tasks evaluated again, the last time counts.
        self.task_weights = self.task_weights | applied if self._losses else applied
        self._losses |= {("total", k): loss for k, loss in losses.items()}
        self._losses |= {("weighted", k): losses[k] * w.to(losses[k]) for k, w in weights.items()}
        sums = {
            f"train/{kind}_loss": [loss for (key, _), loss in self._losses.items() if key == kind]
            for kind in ("total", "weighted")
        }
        self._report |= {name: torch.stack(values).sum() for name, values in sums.items() if values}
        self._report |= {
            **{f"train/loss/{tasks[k]}": loss for k, loss in losses.items()},
            **{f"train/weight/{task}": weight for task, weight in applied.items()},
            **{f"train/{name}": value for name, value in self.balancer.logs().items()},
        }
        self._window = Window()

    def _learn(
        self,
        partition: Partition,
        before: Partition,
        losses: dict[str, Tensor],
        device: torch.device,
    ) -> None:
        """See which parameters the losses reach; what the window holds is sorted accordingly."""
        known = before.shared, before.own
        present = [index for index, task in enumerate(partition.tasks) if task in losses]
        reached = reach([root_edge(losses[partition.tasks[index]]) for index in present])
        partition.learn(reached, present, device)
        self._window.regroup(known, (partition.shared, partition.own))
        if reached.fused and len(present) > 1:
            rank_zero_warn(
                "One node of the autograd graph holds all parameters, as in a network that was"
                " compiled as a whole: every parameter looks shared, and the backward pass of every"
                " task runs everything. Compile the encoder and each head on its own."
            )
        if partition.complete:
            rank_zero_info(partition.describe())

    def _features(self) -> Sequence[Tensor] | None:
        features = self.shared_features()
        return [features] if isinstance(features, Tensor) else features

    def _part(self, losses: dict[str, Tensor]) -> Partition:
        names = (
            tuple(self.task_names) or self.balancer.tasks or tuple(union_over_ranks(list(losses)))
        )
        if self.balancer.tasks and self.balancer.tasks != names:
            raise ValueError(
                f"This weighting was trained on the tasks {self.balancer.tasks}, in an earlier run"
                f" or in that of its checkpoint. Found the tasks {names}. Go on with the same"
                " tasks, or build a new weighting."
            )
        self.balancer.tasks = names
        overridden = type(self).shared_parameters is not MultiTaskModule.shared_parameters
        return Partition(self, names, self.shared_parameters() if overridden else None)

    def _check_names(self, losses: dict[str, Tensor], partition: Partition) -> None:
        unknown = [task for task in losses if task not in partition.tasks]
        if unknown:
            raise ValueError(
                f"`{type(self).__name__}.task_losses` returned the tasks {unknown}. Expected only"
                f" {list(partition.tasks)}. Tasks are taken from `task_names`, or from the first"
                " batch: set `task_names` if some are absent from it."
            )
