"""The base of all weightings: a callback with one method of mathematics.

The base of the weightings that need only the losses is in `loss_weighting.py`, that of those that
need the gradients of the tasks in `gradient_weighting.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import lightning as L
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from lightning_mtl.engine.balancer import PlainSum
from lightning_mtl.engine.coming import Coming
from lightning_mtl.engine.loss_guard import check_automatic
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.prior import check_prior
from lightning_mtl.engine.strategies import check_task_gradients
from lightning_mtl.engine.task_output import TaskOutput
from lightning_mtl.module import MultiTaskModule
from lightning_mtl.weightings.bases.line_search import warn_of_compared_evaluations
from lightning_mtl.weightings.bases.magnitudes import warn_of_lost_magnitudes
from lightning_mtl.weightings.memory.task_memory import TaskMemory


class Weighting(L.Callback, ABC):
    """Turns statistics of the tasks into weights; at most one per Trainer.

    Its memory is saved with the Trainer's checkpoints, and a resumed run continues bit for bit.

    Args:
        prior: prior weights c_k by the names of the tasks, positive; 1 for a task that is not
            named. To the rule and to the heads the losses are c_k L_k. For units (energies and
            forces), tasks that are sampled more rarely, and what is known of their worth. Logged
            losses stay L_k, and logged weights are those of the L_k: c_k times what the rule gives.

    Attributes:
        price: the cost of a step, with F a forward pass, H all heads, B one trunk backward pass and
            K tasks; equal weighting costs F + H + B.
        positive_losses: whether its formula holds for positive losses only. A negative one is then
            an error, and one of exactly zero, of a batch without a valid label, an absent task.
        reweights: whether some weights differ from 1, so that the bar shows the weighted sum too.
        has_objective: whether `total` is one function of the parameters throughout the run, whose
            gradient the steps follow, so that its values may be compared.
        follows_graph: whether it asks which parameters are shared.
        memory: what it remembers from step to step; entries are declared in the constructor.
    """

    price: ClassVar[str] = "F + H + B"
    positive_losses: ClassVar[bool] = False
    reweights: ClassVar[bool] = True
    has_objective: ClassVar[bool] = False
    follows_graph: bool = True

    def __init__(self, prior: dict[str, float] | None = None) -> None:
        if prior is not None:
            check_prior(type(self).__name__, prior)
        self.prior: Mapping[str, float] = dict(prior or {})
        self.memory = TaskMemory()

    @abstractmethod
    def total(self, micro_batch: MicroBatch) -> Tensor:
        """The loss that `training_step` returns."""

    @abstractmethod
    def backward(self, micro_batch: MicroBatch, loss: Tensor) -> None:
        """Write the gradients, given the total as Lightning has scaled it."""

    def price_of(self, accumulate: int) -> str:
        """The price of each of `accumulate` batches that make one optimizer step."""
        return self.price

    def begin_window(self) -> None:
        """Called before the first micro-batch of each optimizer step."""

    def snapshot(self, keeps_vectors: bool) -> Any:
        """What it remembers now. Called before each step of the optimizer.

        Args:
            keeps_vectors: whether to copy vectors as large as the trunk, which change in place.
        """
        return self.memory.snapshot(keeps_vectors)

    def restore(self, snapshot: Any) -> None:
        """Remember what it did then. Called where a step evaluates the losses more than once."""
        self.memory.restore(snapshot)

    def forget_step(self) -> None:
        """Called after a step that a loss scaler has skipped, when the memory was restored."""

    def prepare(self, coming: Coming) -> Sequence[Tensor]:
        """Called just before the losses of a micro-batch are computed; adds no leaves to them."""
        return ()

    def active(self, tasks: tuple[str, ...]) -> set[str]:
        """Which tasks the next backward pass trains: by default all."""
        return set(tasks)

    def observe_losses(self, output: TaskOutput) -> None:
        """Called after `active` with the losses of all tasks, trained or not, on this rank."""

    def optimizer_step(self, optimizer: Any, step: Callable[[], Any]) -> None:
        """Called in place of the optimizer's step: by default one for each batch."""
        step()

    def logs(self) -> dict[str, Tensor]:
        """What to log under `train/` beside losses and weights; regularisers, say."""
        return {}

    @property
    def scales_losses(self) -> bool:
        """Whether weights multiply the losses of the tasks, those of the heads included."""
        return self.reweights or bool(self.prior)

    def in_prior_units(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Losses that were given as those of the module, as the rule sees losses: c_k L_k."""
        return {task: loss * self.prior.get(task, 1.0) for task, loss in losses.items()}

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of all tasks; empty before the first step, unless a checkpoint has them."""
        return self.memory.tasks

    @tasks.setter
    def tasks(self, names: tuple[str, ...]) -> None:
        self.memory.tasks = names

    @property
    def learned(self) -> Mapping[str, Sequence[str]]:
        """What the graphs of the run have shown of its parameters; saved with checkpoints."""
        return self.memory.learned

    @learned.setter
    def learned(self, learned: Mapping[str, Sequence[str]]) -> None:
        self.memory.learned = dict(learned)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check module, Trainer and strategy, and take over the module's backward pass."""
        name = type(self).__name__
        if not isinstance(pl_module, MultiTaskModule):
            raise TypeError(
                f"`{name}` should be attached to a `MultiTaskModule`. Found"
                f" `{type(pl_module).__name__}`. Derive it from `lightning_mtl.MultiTaskModule` and"
                " move its losses to `task_losses`."
            )
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        weightings = [callback for callback in callbacks if isinstance(callback, Weighting)]
        if len(weightings) > 1:
            found = " and ".join(f"`{type(weighting).__name__}`" for weighting in weightings)
            raise ValueError(
                f"A Trainer should have one weighting. Found {found}. Remove all but one."
            )
        if stage == "fit":
            check_automatic(pl_module)
        accumulate = trainer.accumulate_grad_batches
        self._check_strategy(trainer.strategy, accumulate)
        pl_module._multi_task.balancer = self
        if stage == "fit":
            batch = "a step" if accumulate == 1 else f"each of {accumulate} batches of a step"
            price = self.price_of(accumulate)
            rank_zero_info(f"{name}: {batch} costs {price} (equal weighting: F + H + B)")

    def warm_up(self, steps_per_epoch: float) -> float:
        """How many steps of the optimizer pass before the rule is what its name says; 0 by default.

        Args:
            steps_per_epoch: of the run, for a warm-up that is counted in epochs.
        """
        return 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Warn of a warm-up that does not end within the run. Called before the first step."""
        if getattr(trainer, "fast_dev_run", False):
            return
        batches = float(trainer.num_training_batches)
        warm_up = self.warm_up(batches / trainer.accumulate_grad_batches)
        steps = float(trainer.estimated_stepping_batches)
        if 0 < steps <= warm_up:
            name = type(self).__name__
            rank_zero_warn(
                f"`{name}` should have a warm-up that ends within the run. Found one of"
                f" {warm_up:g} steps in a run of {steps:g}, whose results say nothing about"
                f" `{name}`. Shorten the warm-up, or train for longer."
            )

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Warn of optimizers that do not go with the weights. Called when there are some."""
        if self.scales_losses:
            warn_of_lost_magnitudes(type(self).__name__, trainer.optimizers)
        if not self.has_objective:
            warn_of_compared_evaluations(type(self).__name__, trainer.optimizers)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give the module its plain sum back. Called at the end of each stage."""
        if isinstance(pl_module, MultiTaskModule):
            pl_module._multi_task.balancer = PlainSum()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Give the module its plain sum back: Lightning skips `teardown` after an exception."""
        self.teardown(trainer, pl_module, "fit")

    def state_dict(self) -> dict[str, Any]:
        """The memory, for the Trainer's checkpoint."""
        return self.memory.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the memory from the Trainer's checkpoint."""
        self.memory.load_state_dict(state_dict, f"`{type(self).__name__}`")

    def catch_up(self, micro_batch: MicroBatch) -> None:
        """Refuse a backward pass that the strategy has run on its own.

        Raises:
            RuntimeError: always, unless a weighting needs the losses only.
        """
        raise RuntimeError(
            f"`{type(self).__name__}` should write the gradients in the module's own backward pass."
            " Found that the strategy or the precision plugin has run another one. Use a loss-level"
            ' weighting, or another one of these, such as `strategy="ddp"`.'
        )

    def _check_strategy(self, strategy: Any, accumulate: int = 1) -> None:
        check_task_gradients(type(self).__name__, strategy)
