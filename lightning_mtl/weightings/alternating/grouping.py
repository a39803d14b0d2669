"""Random groups of tasks, and the order in which they step."""

from typing import Literal, get_args

import torch

from lightning_mtl.checks import check_choice
from lightning_mtl.weightings.memory.random_stream import RandomStream
from lightning_mtl.weightings.memory.task_memory import TaskMemory

Regroup = Literal["never", "epoch", "step"]
Order = Literal["fixed", "random"]


class Grouping:
    """Splits tasks into groups, uniformly and without replacement, from a seed alone.

    Groups of one task stand in the order of the tasks, and nothing is drawn.

    What is drawn lies in the weighting's memory, so that a resumed run has the same groups and goes
    on drawing where it stopped.

    Args:
        memory: of the weighting.
        group_size: tasks per group; the last group may be smaller.
        regroup: when new groups are drawn.
        order: of the groups within a batch.
        seed: of all draws; `None` for that of `seed_everything`.
    """

    def __init__(
        self,
        memory: TaskMemory,
        group_size: int,
        regroup: Regroup,
        order: Order,
        seed: int | None,
    ) -> None:
        check_choice("AlternatingUpdates", "regroup", regroup, get_args(Regroup))
        check_choice("AlternatingUpdates", "order", order, get_args(Order))
        if group_size < 1:
            raise ValueError(
                f"`AlternatingUpdates(group_size=)` should be at least 1. Found {group_size}. Use"
                " 1 to train each task alone."
            )
        self.group_size = group_size
        self.regroup = regroup
        self.order = order
        self._stream = RandomStream(memory, seed)
        self._group = memory.single("group")

    @property
    def drawn(self) -> bool:
        """Whether there are groups: none before the first step, nor just after `start_epoch`."""
        return self._group.values is not None

    def groups(self) -> list[list[int]]:
        """The current groups, as indices of tasks."""
        assert self._group.values is not None
        numbers = self._group.values.tolist()
        groups: list[list[int]] = [[] for _ in range(max(numbers) + 1)]
        for task, number in enumerate(numbers):
            groups[number].append(task)
        return groups

    def draw(self, tasks: int) -> None:
        """Draw new groups of `tasks` tasks. Called by `turns` where they are due."""
        numbers = torch.arange(tasks)
        if self.group_size > 1:
            numbers[self._permutation(tasks)] = torch.arange(tasks) // self.group_size
        self._group.values = numbers

    def turns(self, tasks: int) -> list[int]:
        """The order of the groups for one batch, as places in `groups`. Draws groups where due.

        Args:
            tasks: how many there are.
        """
        if self.regroup == "step" or not self.drawn:
            self.draw(tasks)
        count = len(self.groups())
        if self.order == "random":
            return self._permutation(count).tolist()
        return list(range(count))

    def start_epoch(self) -> None:
        """Forget the groups, if they change by the epoch. Called at the start of each epoch."""
        if self.regroup == "epoch":
            self._group.values = None

    def _permutation(self, count: int) -> torch.Tensor:
        with self._stream.drawing() as generator:
            return torch.randperm(count, generator=generator)
