"""What a grouping of the tasks is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.task_output import TaskOutput
from lightning_mtl.weightings.memory.task_memory import TaskMemory

OptimizerState = Literal["per_group", "shared"]


class Grouping(ABC):
    """Splits the tasks into groups, and says which of them step on a batch, in which order.

    The groups lie in the weighting's memory, so that a resumed run has the same ones.

    Args:
        memory: of the weighting.

    Attributes:
        price: of a batch; with one optimizer state per group, those come on top.
        optimizer_state: whether the groups have states of their own in the paper.
        warm_up: how many batches pass before the groups are found.
        measures: whether the batch whose turns were asked for last is to be differentiated for
            every task, and `observe_gramian` called.
    """

    price: ClassVar[str]
    optimizer_state: ClassVar[OptimizerState]
    warm_up: int = 0
    measures: bool = False

    def __init__(self, memory: TaskMemory) -> None:
        self._group = memory.single("group")

    @abstractmethod
    def turns(self, tasks: int) -> list[int]:
        """The groups that step on one batch, in this order, as places in `groups`.

        Called once a batch. Finds new groups where they are due.

        Args:
            tasks: how many there are.
        """

    @property
    def drawn(self) -> bool:
        """Whether there are groups: none before the first step."""
        return self._group.values is not None

    def groups(self) -> list[list[int]]:
        """The current groups, as indices of tasks."""
        assert self._group.values is not None
        numbers = self._group.values.tolist()
        groups: list[list[int]] = [[] for _ in range(max(numbers) + 1)]
        for task, number in enumerate(numbers):
            groups[number].append(task)
        return groups

    def start_epoch(self) -> None:  # noqa: B027
        """Called at the start of each epoch."""

    def observe_losses(  # noqa: B027
        self, output: TaskOutput, tasks: Sequence[str], place: int
    ) -> None:
        """Learn from the losses of a forward pass. Called before the group at `place` steps.

        Args:
            output: the losses of all tasks that this rank has.
            tasks: the names of all tasks.
            place: of the group whose turn it is.
        """

    def observe_gramian(  # noqa: B027
        self, present: Sequence[int], gramian: Float[Tensor, "k k"]
    ) -> None:
        """Learn from the task gradients of a batch. Called where `measures`, before the step.

        Args:
            present: indices of the tasks that the batch has.
            gramian: the inner products of their gradients, on the host.
        """
