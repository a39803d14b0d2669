"""Weights that are solved for now and then, and kept in between."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.weightings.memory.task_memory import TaskState


class KeptWeights:
    """The weights of the last solution, and when to solve again; all of it in a `TaskState`.

    Args:
        state: of the weighting.
        every_n_steps: how many optimizer steps there are from one solution to the next.
    """

    def __init__(self, state: TaskState, every_n_steps: int) -> None:
        self._state = state
        self._every = every_n_steps

    def count(self) -> None:
        """One more optimizer step."""
        tensors = self._state.tensors
        tensors["steps"] = tensors.get("steps", torch.tensor(0)) + 1

    def hold(self, tasks: Sequence[int]) -> bool:
        """Whether no solution is due, and the last one was for these tasks: it mixes with no other.

        The same for all micro-batches of one optimizer step.
        """
        tensors = self._state.tensors
        if int(tensors.get("steps", 0)) % self._every == 0 or "kept_tasks" not in tensors:
            return False
        return bool(tensors["kept_tasks"].tolist() == list(tasks))

    def read(self, tasks: Sequence[int]) -> Float[Tensor, " k"]:
        """The last weights of these tasks, on the host; 1 for one that never had any."""
        self._state.present = tasks
        return self._state.read("kept", torch.ones(len(tasks), dtype=torch.float64), 1.0)

    def write(self, tasks: Sequence[int], weights: Float[Tensor, " k"]) -> None:
        """Keep the solution for these tasks."""
        self.read(tasks)
        self._state.write("kept", weights)
        self._state.tensors["kept_tasks"] = torch.tensor(tasks)

    @property
    def uneven(self) -> bool:
        """Whether a task was ever absent from some micro-batches of an optimizer step."""
        return "uneven" in self._state.tensors

    def see(self, shares: Float[Tensor, " k"]) -> None:
        """Learn from one optimizer step whether tasks are absent from some of its micro-batches.

        Args:
            shares: of the micro-batches, which have each of the tasks; on the host.
        """
        if bool((shares < 1).any()):
            self._state.tensors["uneven"] = torch.tensor(True)
