"""How far the shared parameters go, and how far that takes them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_mtl.engine.gradients import norms
from lightning_mtl.weightings.memory.task_memory import TaskMemory


class Path:
    """The length of the way of the shared parameters, and their distance from its start.

    Args:
        memory: of the weighting.

    Attributes:
        origin: where the shared parameters set out from, by their names.
    """

    def __init__(self, memory: TaskMemory) -> None:
        self.origin: dict[str, Tensor] = {}
        self._length = memory.single("path_length")
        self._displacement = memory.single("displacement")

    def add(self, shared: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> None:
        """Add one step to the length, and measure the displacement. Called after each step.

        Args:
            shared: the shared parameters by name.
            before: copies of them from before the step.
        """
        after = [parameter.detach() for parameter in shared.values()]
        # A task that comes late may show more parameters to be shared: they set out from here.
        last = [before.get(name, value) for name, value in zip(shared, after, strict=True)]
        for name, value in zip(shared, last, strict=True):
            start = self.origin.get(name, value).to(value.device)
            self.origin[name] = start.clone() if start is value else start
        origin = [self.origin[name] for name in shared]
        moves = [list(torch._foreach_sub(after, last)), list(torch._foreach_sub(after, origin))]
        step, displacement = norms(moves)
        length = self._length.values
        self._length.values = step if length is None else length.to(step.device) + step
        self._displacement.values = displacement

    def logs(self) -> dict[str, Tensor]:
        """Length, displacement and their ratio; empty before the first step."""
        length, displacement = self._length.values, self._displacement.values
        if length is None or displacement is None:
            return {}
        exploration = length / displacement.clamp(min=1e-12)
        return {"path_length": length, "displacement": displacement, "exploration": exploration}
