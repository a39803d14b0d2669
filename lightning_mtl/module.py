"""`MultiTaskModule`: a LightningModule of several losses."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial, wraps
from typing import Any

import lightning as L
from torch import Tensor
from torch.nn import Parameter

from lightning_mtl.engine.checkpoint_checks import (
    announce_other_weighting,
    drop_other_weightings,
    same_network,
)
from lightning_mtl.engine.engine import Engine
from lightning_mtl.engine.loss_guard import check_automatic
from lightning_mtl.engine.module_checks import check_callbacks, check_one_optimizer
from lightning_mtl.engine.task_output import TaskLoss
from lightning_mtl.evaluation.hooks import EvaluationHooks
from lightning_mtl.evaluation.results import AnyMetric


class MultiTaskModule(L.LightningModule, ABC):
    """A LightningModule with one loss per task, in automatic optimization.

    Write `task_losses` and `configure_optimizers`, then train as usual. Attach one weighting from
    `lightning_mtl.callbacks` to the Trainer to balance the tasks; without one their losses are
    summed.

    An existing module becomes a multi-task one by `class Mine(MultiTaskModule, TheirModule)`, with
    any constructor and in any order, and a `task_losses` that returns its losses. `training_step`
    and `backward` are then always those of this class. Theirs are not called, so whatever else
    their `training_step` does, such as logging, is left out; `TrainingStepLosses` keeps it. An
    instance gets one attribute more, `_multi_task`.

    Write `task_metrics` and `task_predictions` to have every task measured in validation and test:
    `val/<task>/<metric>` and `test/<task>/<metric>`, to select models by and for the `MetricTable`.
    With `baselines`, `val/delta_mtl` is among them. Whoever writes a `validation_step` or a
    `test_step` keeps it, and logs what they like.

    A module of `pytorch_lightning` is named first, `class Mine(TheirModule, MultiTaskModule)`, and
    trained by `pytorch_lightning.Trainer`: the methods of `lightning.LightningModule` would
    otherwise hide its own.

    Logged at each optimizer step: `train/loss/<task>`, the raw loss as a mean over micro-batches
    and ranks; `train/weight/<task>`, the weight as applied, without any loss scale; and the sums
    over the tasks of raw and of weighted losses, `train/total_loss` and `train/weighted_loss`. The
    progress bar shows these two as `total` and, where a weighting changes it, `weighted`. With
    `log_tasks` and `prog_bar` both off nothing is logged, except by monitors.

    Attributes:
        task_names: the names of all tasks, in their order. By default those of the first batch (of
            all ranks); name them if some may be absent from it.
        baselines: the result of a single-task run for each task, by the first value of its metric
            that has a direction; adds Delta_MTL, the mean improvement over these in percent.
            Measure them on the split whose Delta_MTL you report: validation and test are compared
            with the same numbers.
        log_tasks: whether to log the loss and the weight of each task, and what a weighting has to
            say of them, at each step.
        prog_bar: whether the progress bar shows the sums over the tasks.

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
    baselines: Mapping[str, float] | None = None
    log_tasks: bool = True
    prog_bar: bool = True
    __jit_unused_properties__ = [*L.LightningModule.__jit_unused_properties__, "task_weights"]  # noqa: RUF012

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        families = [base for base in cls.__mro__ if base.__name__ == "LightningModule"]
        if families.index(L.LightningModule) < len(families) - 1:
            raise TypeError(
                f"`{cls.__name__}` should name a module of `pytorch_lightning` before"
                " `MultiTaskModule`, as the methods of `lightning.LightningModule` hide its own."
                " Found the reverse order. Write `class Mine(TheirModule, MultiTaskModule)`, and"
                " train it with `pytorch_lightning.Trainer`."
            )
        # In any order of the bases, these are this class's and not those of a module mixed in.
        for name in ("training_step", "backward", "optimizer_step"):
            owner = next(base for base in cls.__mro__ if name in vars(base))
            own = name == "optimizer_step" and owner not in families
            if not issubclass(owner, MultiTaskModule) and not own:
                setattr(cls, name, getattr(MultiTaskModule, name))
        # Lightning warns of a `validation_step` without data, so modules without metrics have none.
        if cls.task_metrics is not MultiTaskModule.task_metrics:
            for name, step in (("validation_step", _validate), ("test_step", _test)):
                given = (vars(base)[name] for base in cls.__mro__ if name in vars(base))
                first = next(each for each in given if each is not step)
                # One that is mixed in behind a module with metrics is its user's, too.
                default = first is getattr(L.LightningModule, name)
                setattr(cls, name, step if default else first)
        if cls.configure_optimizers is not L.LightningModule.configure_optimizers:
            cls._check_optimizers(cls.configure_optimizers)

    @classmethod
    def _check_optimizers(cls, configure: Callable[..., Any]) -> None:
        """Let instances of this class, and not of its subclasses, refuse several optimizers.

        Lightning asks for manual optimization there, in which no tasks are balanced.
        """

        @wraps(configure)
        def configure_optimizers(self: "MultiTaskModule") -> Any:
            found = configure(self)
            if type(self) is cls and self.automatic_optimization:
                check_one_optimizer(cls.__name__, found)
            return found

        cls.configure_optimizers = configure_optimizers  # type: ignore[assignment, method-assign]

    @cached_property
    def _multi_task(self) -> Engine:
        """The engine, built when it is first used, so that no constructor has to be called."""
        named = type(self).shared_parameters is not MultiTaskModule.shared_parameters
        return Engine(self, names_shared=named)

    @abstractmethod
    def task_losses(self, batch: Any) -> Mapping[str, TaskLoss]:
        """The loss of each task for one batch. Called for each training batch, at least once.

        Some weightings evaluate a batch several times (their cards say so), and so does an
        optimizer such as L-BFGS. With these weightings, metrics and `log` count once a batch. What
        else this method changes, it changes at every call: a counter or a list of the module, a
        file, a random generator of its own. Do that in `on_train_batch_end`. Never call
        `.backward()` here: the gradients are taken after it has returned.

        Args:
            batch: as the data loader gives it, on the module's device.

        Returns:
            A finite, differentiable scalar by the name of each task; at least one. Leave tasks
            without labels out, and set `task_names` if one may be missing from the first batch.
            A loss that is a mean over a number of labels that differs from batch to batch may come
            as `(loss, count)`. Means over micro-batches and ranks then run over all labels, as in
            one batch; under gradient accumulation, that takes K trunk passes.
        """

    def task_metrics(self) -> Mapping[str, AnyMetric]:
        """New metrics, without any data yet. Called once for validation and once for test.

        Each is a `Metric` or a `MetricCollection` of torchmetrics, by the name of its task. Several
        values are logged under the names that the collection gives them, a single one under the
        name of its class. By default there are none: nothing is validated.
        """
        return {}

    def task_predictions(self, batch: Any) -> Mapping[str, tuple[Any, ...]]:
        """What the metrics are updated with. Called for each batch of validation and test.

        Args:
            batch: as the data loader gives it, on the module's device. The module is in evaluation
                mode, and no gradients are recorded.

        Returns:
            `(prediction, target)` by the name of each task, in the form that its metric takes.
            Leave tasks without labels out, and labels that are not known: metrics of torchmetrics
            would count them, or turn NaN.

        Raises:
            NotImplementedError: if `task_metrics` is written and this is not.
        """
        name = type(self).__name__
        raise NotImplementedError(
            f"`{name}.task_predictions` should be written where `{name}.task_metrics` is: it gives"
            " the metrics what they measure. Found none. Return `(prediction, target)` by the name"
            " of each task."
        )

    def shared_parameters(self) -> list[Parameter]:
        """The parameters whose gradients are balanced.

        By default those that at least two tasks reach in the autograd graph: known during `fit`,
        from the first training step on; empty before and after. Override it to choose them
        yourself. Parameters that several tasks use but that you leave out are then treated like
        those of a head: each task adds its gradient, weighted only if heads are.
        """
        partition = self._multi_task.partition
        return [] if partition is None else partition.shared

    def shared_features(self) -> Tensor | Sequence[Tensor] | None:
        """The shared representation of the current step, for `gradients="features"`.

        By default `None`: the tensors at which the task graphs part.
        """
        return None

    @property
    def task_weights(self) -> dict[str, Tensor]:
        """The weights that were applied last, by task; absent tasks are not in the dict."""
        return self._multi_task.log.weights

    def configure_callbacks(self) -> Any:
        """No callbacks; checks those of the Trainer. Called before any of them is used."""
        check_callbacks(self.trainer.callbacks)  # type: ignore[attr-defined]
        return super().configure_callbacks()

    def setup(self, stage: str) -> None:
        """Check that Lightning will call the backward pass. Called before each stage."""
        super().setup(stage)
        if stage == "fit":
            check_automatic(self)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Compute the task losses and their total. Called for each batch."""
        return self._multi_task.training_step(batch)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Hand the scaled total to the engine. Called after each `training_step`."""
        self._multi_task.backward(loss)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        """Let the weighting step, once or more often. Called in place of the optimizer's step."""
        step = partial(super().optimizer_step, epoch, batch_idx, optimizer, optimizer_closure)
        self._multi_task.optimizer_step(optimizer, step)

    # `GradientAccumulationScheduler` warns of steps of a user's own: this one is Lightning's.
    optimizer_step.__wrapped__ = L.LightningModule.optimizer_step  # type: ignore[attr-defined]

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Restore parameters and buffers, or say in short how those of a checkpoint differ.

        Raises:
            RuntimeError: if they are those of another network.
        """
        with same_network(self, state_dict):
            return super().load_state_dict(state_dict, strict=strict, assign=assign)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Warn where a run goes on with another weighting. Called before a state is restored."""
        super().on_load_checkpoint(checkpoint)
        balancer = self._multi_task.balancer
        weighting = getattr(balancer, "state_key", "")
        if self._trainer is not None and self.trainer.state.fn == "fit":
            announce_other_weighting(type(self).__name__, weighting, checkpoint)
        else:
            drop_other_weightings(weighting, checkpoint)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check losses, parameters and buffers before a checkpoint is written.

        Raises:
            ValueError: if one of them has been NaN or infinite.
        """
        super().on_save_checkpoint(checkpoint)
        self._multi_task.check_state()


def _validate(self: MultiTaskModule, batch: Any, batch_idx: int) -> None:
    """Add a batch to the metrics of the validation."""
    evaluation = EvaluationHooks.of(self.trainer, self).evaluation("val")
    evaluation.update(self.task_predictions(batch))


def _test(self: MultiTaskModule, batch: Any, batch_idx: int) -> None:
    """Add a batch to the metrics of the test."""
    evaluation = EvaluationHooks.of(self.trainer, self).evaluation("test")
    evaluation.update(self.task_predictions(batch))
