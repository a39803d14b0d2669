"""Random groups of tasks, and the order in which they step."""

from typing import ClassVar, Literal, get_args

import torch

from lightning_mtl.checks import check_choice
from lightning_mtl.weightings.alternating.groupings.grouping import Grouping, OptimizerState
from lightning_mtl.weightings.memory.random_stream import RandomStream
from lightning_mtl.weightings.memory.task_memory import TaskMemory

Redraw = Literal["never", "epoch", "step"]
Order = Literal["fixed", "random"]


class RandomGroups(Grouping):
    """Splits tasks into groups, uniformly and without replacement, from a seed alone.

    Groups of one task stand in the order of the tasks, and nothing is drawn. A resumed run goes on
    drawing where it stopped.

    Args:
        memory: of the weighting.
        group_size: tasks per group; the last group may be smaller.
        redraw: when new groups are drawn.
        order: of the groups within a batch.
        seed: of all draws; `None` for that of `seed_everything`.
    """

    price: ClassVar[str] = "n (F + B) + H for n groups"
    optimizer_state: ClassVar[OptimizerState] = "per_group"

    def __init__(
        self,
        memory: TaskMemory,
        group_size: int,
        redraw: Redraw,
        order: Order,
        seed: int | None,
    ) -> None:
        super().__init__(memory)
        check_choice("AlternatingUpdates", "order", order, get_args(Order))
        if group_size < 1:
            raise ValueError(
                f"`AlternatingUpdates(group_size=)` should be at least 1. Found {group_size}. Use"
                " 1 to train each task alone."
            )
        self.group_size = group_size
        self.redraw = redraw
        self.order = order
        self._stream = RandomStream(memory, seed)

    def draw(self, tasks: int) -> None:
        """Draw new groups of `tasks` tasks. Called by `turns` where they are due."""
        numbers = torch.arange(tasks)
        if self.group_size > 1:
            numbers[self._permutation(tasks)] = torch.arange(tasks) // self.group_size
        self._group.values = numbers

    def turns(self, tasks: int) -> list[int]:
        """All groups, in a fixed or in a random order. Draws new groups where they are due."""
        if self.redraw == "step" or not self.drawn:
            self.draw(tasks)
        count = len(self.groups())
        if self.order == "random":
            return self._permutation(count).tolist()
        return list(range(count))

    def start_epoch(self) -> None:
        """Forget the groups, if they change by the epoch. Called at the start of each epoch."""
        if self.redraw == "epoch":
            self._group.values = None

    def _permutation(self, count: int) -> torch.Tensor:
        with self._stream.drawing() as generator:
            return torch.randperm(count, generator=generator)
