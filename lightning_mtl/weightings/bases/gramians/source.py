"""What a weighting on the Gramian and the source of its Gramian ask of each other."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.coming import Coming
from lightning_mtl.engine.gradients import Gradients
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.weightings.memory.task_memory import TaskMemory


class Rule(Protocol):
    """What a source asks of the weighting that it belongs to; `GramianWeighting` is one."""

    memory: TaskMemory
    every_n_steps: int
    weight_heads: bool
    needs_rows: ClassVar[bool]
    most_on_device: ClassVar[int]
    brought: Float[Tensor, " n"]

    def observe(self, rows: list[Gradients], scale: Float[Tensor, " K"]) -> Float[Tensor, " n"]:
        """Learn from the measured gradients, with `needs_rows`. Called before `checked_weights`."""

    def may_see(self, micro_batch: MicroBatch, sizes: Float[Tensor, " k"]) -> bool:
        """Whether the rule may see gradients of these sizes; refuses those that are not finite."""

    def checked_weights(
        self, micro_batch: MicroBatch, losses: Float[Tensor, " k"], gramian: Float[Tensor, "k k"]
    ) -> Float[Tensor, " k"]:
        """The weights for these losses and this Gramian, on the device."""


class Source(ABC):
    """Finds the Gramian of each optimizer step, and applies the weights that follow from it.

    Attributes:
        needs_task_gradients: whether it differentiates the tasks one by one.
    """

    needs_task_gradients: ClassVar[bool] = True

    @abstractmethod
    def price_of(self, accumulate: int) -> str:
        """The price of each of `accumulate` batches that make one optimizer step."""

    @abstractmethod
    def begin_window(self) -> None:
        """Forget what was found before. Called before the first micro-batch of a step."""

    @abstractmethod
    def prepare(self, coming: Coming) -> Sequence[Tensor]:
        """Get ready, before the losses of a micro-batch are computed.

        Returns:
            Leaves that their graph will hold beside the parameters.
        """

    @abstractmethod
    def total(self, micro_batch: MicroBatch) -> Tensor:
        """The loss that `training_step` returns."""

    @abstractmethod
    def backward(self, micro_batch: MicroBatch, loss: Tensor) -> None:
        """Write the gradients, given the total as Lightning has scaled it."""

    def catch_up(self, micro_batch: MicroBatch) -> None:  # noqa: B027
        """Learn after a plain backward pass of the strategy's own.

        Called only without `needs_task_gradients`.
        """

    def release(self) -> None:  # noqa: B027
        """Leave module and layers as they were. Called at the end of each stage."""
