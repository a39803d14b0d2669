"""Weights that are solved for now and then, and reused in between."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.weightings.memory.task_memory import TaskMemory


class WeightCache:
    """The weights of the last solution, and when to solve again; all of it in a `TaskMemory`.

    Args:
        memory: of the weighting.
        every_n_steps: how many optimizer steps there are from one solution to the next.
    """

    def __init__(self, memory: TaskMemory, every_n_steps: int) -> None:
        self._memory = memory
        self._every_n_steps = every_n_steps
        self._steps = memory.single("cache_steps")
        self._weights = memory.per_task("cached_weights", initial=1.0)
        self._tasks = memory.single("cached_tasks")
        self._partial_presence = memory.single("partial_presence")

    def advance(self) -> None:
        """Count one more optimizer step. Called at the end of each."""
        self._steps.count()

    @property
    def is_due(self) -> bool:
        """Whether this optimizer step has to solve anew, whichever tasks it has."""
        steps = 0 if self._steps.values is None else int(self._steps.values)
        return steps % self._every_n_steps == 0 or self._tasks.values is None

    def is_valid_for(self, present: Sequence[int]) -> bool:
        """Whether the cached weights may be reused: recent enough, and solved for these tasks.

        The answer is the same for all micro-batches of one optimizer step.
        """
        if self.is_due:
            return False
        assert self._tasks.values is not None
        return bool(self._tasks.values.tolist() == list(present))

    def read(self, present: Sequence[int], like: Tensor) -> Float[Tensor, " k"]:
        """The last weights of these tasks, on the device of `like`; 1 for one that never had any.

        Args:
            present: indices of the tasks.
            like: for the dtype of initial weights, too.
        """
        with self._memory.of(present):
            return self._weights.read(like.new_ones(len(present)))

    def write(self, present: Sequence[int], weights: Float[Tensor, " k"]) -> None:
        """Cache the solution for these tasks."""
        with self._memory.of(present):
            self._weights.write(weights)
        self._tasks.values = torch.tensor(present)

    @property
    def saw_partial_presence(self) -> bool:
        """Whether a task was ever absent from some micro-batches of an optimizer step."""
        return self._partial_presence.values is not None

    def record_presence(self, is_partial: bool) -> None:
        """Learn from one optimizer step whether some of its micro-batches lack a task."""
        if is_partial:
            self._partial_presence.values = torch.tensor(True)
