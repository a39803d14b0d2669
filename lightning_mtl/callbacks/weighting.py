"""What every weighting is: a callback with one method of mathematics.

Here are the base of all, and that of the weightings that need only the losses. Those that need the
gradients of the tasks are in `gradient_weighting.py`.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import lightning as L
from jaxtyping import Float
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_mtl.balancer import PlainSum
from lightning_mtl.module import MultiTaskModule
from lightning_mtl.state import TaskState
from lightning_mtl.step import Step


class Weighting(L.Callback, ABC):
    """Turns statistics of the tasks into weights; at most one per Trainer.

    Its state is saved with the Trainer's checkpoints, and a resumed run continues bit for bit.

    Attributes:
        price: the cost of a step, with F a forward pass, H all heads, B one trunk backward pass and
            K tasks; equal weighting costs F + H + B.
        state: what it remembers from step to step.
    """

    price: ClassVar[str] = "F + H + B"

    def __init__(self) -> None:
        self.state = TaskState()

    @abstractmethod
    def total(self, step: Step) -> Tensor:
        """The loss that `training_step` returns."""

    @abstractmethod
    def backward(self, step: Step, loss: Tensor) -> None:
        """Write the gradients, given the total as Lightning has scaled it."""

    def active(self, tasks: tuple[str, ...]) -> set[str]:
        """Which tasks the next backward pass trains: all."""
        return set(tasks)

    def optimizer_step(self, optimizer: Any, closure: Any) -> None:
        """Run the closure and step: once."""
        optimizer.step(closure=closure)

    def logs(self) -> dict[str, Tensor]:
        """What to log under `train/` beside losses and weights; regularisers, say."""
        return {}

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of all tasks, known from the first step or from a checkpoint."""
        return self.state.tasks

    @tasks.setter
    def tasks(self, names: tuple[str, ...]) -> None:
        self.state.tasks = names

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check the company, and take over the module's backward pass."""
        name = type(self).__name__
        if not isinstance(pl_module, MultiTaskModule):
            raise TypeError(
                f"`{name}` needs a `MultiTaskModule`. Found `{type(pl_module).__name__}`. Derive it"
                " from `lightning_mtl.MultiTaskModule` and move its losses to `task_losses`."
            )
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        weightings = [callback for callback in callbacks if isinstance(callback, Weighting)]
        if len(weightings) > 1:
            found = " and ".join(f"`{type(weighting).__name__}`" for weighting in weightings)
            raise ValueError(f"A Trainer takes one weighting. Found {found}. Remove all but one.")
        self._check_strategy(trainer.strategy)
        pl_module.balancer = self
        if stage == "fit":
            rank_zero_info(f"{name}: a step costs {self.price} (equal weighting: F + H + B)")

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give the module its plain sum back."""
        if isinstance(pl_module, MultiTaskModule):
            pl_module.balancer = PlainSum()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """As at the end of a run, which Lightning skips after an exception."""
        self.teardown(trainer, pl_module, "fit")

    def state_dict(self) -> dict[str, Any]:
        """For the Trainer's checkpoint."""
        return self.state.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the Trainer's checkpoint."""
        self.state.load_state_dict(state_dict)

    def catch_up(self, step: Step) -> None:
        """Refused.

        Raises:
            RuntimeError: always; a weighting of losses only has more to say.
        """
        raise RuntimeError(
            f"`{type(self).__name__}` needs the backward pass of the module, and the strategy or"
            " the precision plugin has run its own. Use a loss-level weighting, or another one of"
            ' these, such as `strategy="ddp"`.'
        )

    def _check_strategy(self, strategy: Any) -> None:
        check_whole_parameters(type(self).__name__, strategy)


def check_whole_parameters(name: str, strategy: Any) -> None:
    """Refuse a strategy under which task gradients cannot be taken.

    Args:
        name: of the callback that takes them.
        strategy: of the Trainer.
    """
    if isinstance(strategy, (FSDPStrategy, DeepSpeedStrategy, ModelParallelStrategy)):
        raise ValueError(
            f"`{name}` needs the gradient of each task, and `{type(strategy).__name__}` shards the"
            " parameters. Use a loss-level weighting (`UncertaintyWeighting`, say), or a strategy"
            ' that keeps whole parameters, such as `"ddp"`.'
        )


class LossWeighting(Weighting):
    """A weighting that needs the losses only; it works under every strategy.

    The network minimises Σ w_k L_k, heads included. Over ranks, a loss is the mean of those that
    have the task; over accumulated micro-batches, as ever in Lightning, it counts as 0 where the
    task is absent (unless the weights wait for the end of the window, as below).

    Attributes:
        depends_on_losses: whether the weights of a step depend on its own losses. Under gradient
            accumulation these are known only at the end of the window; the task gradients are then
            gathered until there, at the price of a Gramian rule.
    """

    depends_on_losses: ClassVar[bool] = False

    @abstractmethod
    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The weights of this step. Changes no state: it is called for every micro-batch.

        Args:
            losses: of the tasks present, detached, means over the ranks.
        """

    def update(self, losses: Float[Tensor, " K"]) -> None:
        """Learn from the losses of one optimizer step, after its backward pass.

        Args:
            losses: of the tasks present, detached, means over micro-batches and ranks.
        """

    def total(self, step: Step) -> Tensor:
        """Σ w_k L_k, or Σ L_k where the weights come later."""
        if self._gathers(step):
            return step.total()
        self.state.present = step.present
        weights = self.weights(step.losses)
        step.note(step.present, weights)
        return step.total(weights)

    def backward(self, step: Step, loss: Tensor) -> None:
        """As Lightning does, or with the weights of the whole window."""
        if self._gathers(step):
            step.collect(step.differentiate(loss))
        else:
            step.backward(loss)
        if step.last:
            self._conclude(step)

    def catch_up(self, step: Step) -> None:
        """Learn from the losses after a backward pass that was not run by `backward`.

        Raises:
            RuntimeError: if the weights of an accumulated window were still to come.
        """
        if self._gathers(step):
            super().catch_up(step)
        if step.last:
            self._conclude(step)

    def _conclude(self, step: Step) -> None:
        self.state.present = step.window.tasks
        losses = step.window.losses
        if self._gathers(step):
            weights = self.weights(losses)
            counts = step.window.counts.cpu()
            step.release(step.window.reduce(), weights.tolist(), counts, weight_heads=True)
            step.note(step.window.tasks, weights)
        self.update(losses)

    def _gathers(self, step: Step) -> bool:
        return self.depends_on_losses and not step.alone

    def _check_strategy(self, strategy: Any) -> None:
        """Anything goes."""
