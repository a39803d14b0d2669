"""What every weighting is: a callback with one method of mathematics.

Here is the base of all. That of the weightings that need only the losses is in `loss_weighting.py`,
that of those that need the gradients of the tasks in `gradient_weighting.py`.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_mtl.engine.balancer import PlainSum
from lightning_mtl.engine.loss_guard import check_automatic
from lightning_mtl.engine.micro_batch import Step
from lightning_mtl.engine.strategies import check_whole_parameters
from lightning_mtl.module import MultiTaskModule
from lightning_mtl.weightings.memory.task_memory import TaskState


class Weighting(L.Callback, ABC):
    """Turns statistics of the tasks into weights; at most one per Trainer.

    Its state is saved with the Trainer's checkpoints, and a resumed run continues bit for bit.

    Attributes:
        price: the cost of a step, with F a forward pass, H all heads, B one trunk backward pass and
            K tasks; equal weighting costs F + H + B.
        positive_losses: whether its formula holds for positive losses only. A negative one is then
            an error, and one of exactly zero, of a batch without a valid label, an absent task.
        state: what it remembers from step to step.
    """

    price: ClassVar[str] = "F + H + B"
    positive_losses: ClassVar[bool] = False

    def __init__(self) -> None:
        self.state = TaskState()

    @abstractmethod
    def total(self, step: Step) -> Tensor:
        """The loss that `training_step` returns."""

    @abstractmethod
    def backward(self, step: Step, loss: Tensor) -> None:
        """Write the gradients, given the total as Lightning has scaled it."""

    def price_of(self, accumulate: int) -> str:
        """The price of each of `accumulate` batches that make one optimizer step: as of one."""
        return self.price

    def prepare(self, device: torch.device) -> None:
        """Called just before the losses of a micro-batch are computed."""

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
        if stage == "fit":
            check_automatic(pl_module)
        accumulate = trainer.accumulate_grad_batches
        self._check_strategy(trainer.strategy, accumulate)
        pl_module.balancer = self
        if stage == "fit":
            what = "a step" if accumulate == 1 else f"each of {accumulate} batches of a step"
            price = self.price_of(accumulate)
            rank_zero_info(f"{name}: {what} costs {price} (equal weighting: F + H + B)")

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

    def _check_strategy(self, strategy: Any, accumulate: int = 1) -> None:
        check_whole_parameters(type(self).__name__, strategy)
