"""What the module asks of those that balance its tasks and of those that only look."""

from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from lightning_mtl.engine.micro_batch import Step


class Balancer(Protocol):
    """What the module asks of a weighting; `lightning_mtl.callbacks.Weighting` is one."""

    tasks: tuple[str, ...]
    positive_losses: ClassVar[bool]

    def prepare(self, device: torch.device) -> None:
        """Look at the random numbers, say, just before the losses of a micro-batch are computed."""

    def active(self, tasks: tuple[str, ...]) -> set[str]:
        """Which tasks the next backward pass trains."""

    def optimizer_step(self, optimizer: Any, closure: Any) -> None:
        """Run the closure and step, once or more often."""

    def total(self, step: Step) -> Tensor:
        """The loss that `training_step` returns."""

    def backward(self, step: Step, loss: Tensor) -> None:
        """Differentiate the total, which Lightning has scaled since, and write the gradients."""

    def catch_up(self, step: Step) -> None:
        """Do what follows a backward pass that the strategy has run on its own."""

    def logs(self) -> dict[str, Tensor]:
        """What else to log under `train/`."""


class Observer(Protocol):
    """Something that looks at the gradients of a step and changes nothing."""

    def observe(self, step: Step) -> None:
        """Look at a micro-batch before its backward pass."""

    def conclude(self, step: Step) -> dict[str, Tensor]:
        """Look at the window when its weights are known; what to log under `train/`."""


class PlainSum:
    """The balancer of a module without a weighting: Σ L_k."""

    tasks: tuple[str, ...] = ()
    positive_losses: ClassVar[bool] = False

    def prepare(self, device: torch.device) -> None:
        """Nothing."""

    def active(self, tasks: tuple[str, ...]) -> set[str]:
        """All."""
        return set(tasks)

    def optimizer_step(self, optimizer: Any, closure: Any) -> None:
        """Once."""
        optimizer.step(closure=closure)

    def total(self, step: Step) -> Tensor:
        """Σ L_k."""
        weights = torch.ones_like(step.losses)
        step.note(step.present, weights)
        return step.total(weights)

    def backward(self, step: Step, loss: Tensor) -> None:
        """As Lightning does."""
        step.backward(loss)

    def catch_up(self, step: Step) -> None:
        """Nothing."""

    def logs(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}
