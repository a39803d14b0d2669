"""Random grouping of tasks."""

from typing import Literal, get_args

import torch

from lightning_mtl.weightings.memory.random_stream import drawing
from lightning_mtl.weightings.memory.task_memory import TaskState

Regroup = Literal["never", "epoch", "step"]
Order = Literal["fixed", "random"]


class Grouping:
    """Splits tasks into groups, uniformly and without replacement, from a seed alone.

    What is drawn lies in the weighting's state, so that a resumed run has the same groups and goes
    on drawing where it stopped.

    Args:
        group_size: tasks per group; the last group may be smaller.
        regroup: when new groups are drawn.
        order: of the groups within a batch.
        seed: of all draws; `None` for that of `seed_everything`.
    """

    def __init__(self, group_size: int, regroup: Regroup, order: Order, seed: int | None) -> None:
        for name, value, kind in (("regroup", regroup, Regroup), ("order", order, Order)):
            if value not in get_args(kind):
                raise ValueError(
                    f"`AlternatingUpdates({name}=)` should be one of {get_args(kind)}. Found"
                    f" {value!r}."
                )
        if group_size < 1:
            raise ValueError(
                f"`AlternatingUpdates(group_size=)` should be at least 1. Found {group_size}."
            )
        self.group_size = group_size
        self.regroup = regroup
        self.order = order
        self.seed = seed

    def groups(self, state: TaskState) -> list[list[int]]:
        """The present groups, as indices of tasks."""
        places = state.tensors["group"].tolist()
        groups: list[list[int]] = [[] for _ in range(max(places) + 1)]
        for task, place in enumerate(places):
            groups[place].append(task)
        return groups

    def draw(self, state: TaskState, tasks: int) -> None:
        """Draw new groups."""
        places = torch.empty(tasks, dtype=torch.long)
        places[self._permutation(state, tasks)] = torch.arange(tasks) // self.group_size
        state.tensors["group"] = places

    def turns(self, state: TaskState, tasks: int) -> list[int]:
        """The order of the groups for one batch, as places in `groups`; draws what has to be drawn.

        Args:
            state: where groups and generator are kept.
            tasks: how many there are.
        """
        if self.regroup == "step" or "group" not in state.tensors:
            self.draw(state, tasks)
        count = len(self.groups(state))
        if self.order == "random":
            return self._permutation(state, count).tolist()
        return list(range(count))

    def start_epoch(self, state: TaskState) -> None:
        """Forget the groups, if they change by the epoch."""
        if self.regroup == "epoch":
            state.tensors.pop("group", None)

    def _permutation(self, state: TaskState, count: int) -> torch.Tensor:
        with drawing(state, self.seed) as generator:
            return torch.randperm(count, generator=generator)
