"""One state of the optimizer for each group of tasks."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

Parameters = Mapping[str, Tensor]
"""Parameters of the module by their names."""


class GroupStates:
    """What the optimizer knows of the shared parameters, such as moments, for each group.

    Attributes:
        states: by the place of the group, then by the name of the shared parameter.
    """

    def __init__(self) -> None:
        self.states: list[dict[str, Any]] = []

    def swap_in(
        self, optimizer: Optimizer, place: int, shared: Parameters, every: Parameters
    ) -> None:
        """Give the optimizer a group's state of the shared parameters. Called before its step.

        Args:
            optimizer: whose state is replaced.
            place: of the group.
            shared: the shared parameters.
            every: all parameters of the module.
        """
        states = self.states[place] if place < len(self.states) else {}
        # A resumed run has states before its first pass shows what is shared.
        names = set(shared).union(*self.states)
        for name, parameter in every.items():
            if name not in names:
                continue
            optimizer.state.pop(parameter, None)
            if name in states:
                optimizer.state[parameter] = {
                    key: _moved(value, parameter) if key != "step" else value
                    for key, value in states[name].items()
                }

    def keep(self, optimizer: Optimizer, place: int, shared: Parameters) -> None:
        """Remember a group's state: the tensors themselves, which only its own steps change.

        Called after the step of the group.
        """
        while len(self.states) <= place:
            self.states.append({})
        self.states[place] = {
            name: dict(optimizer.state[parameter])
            for name, parameter in shared.items()
            if parameter in optimizer.state
        }


def _moved(value: Any, parameter: Tensor) -> Any:
    """A value of an optimizer's state on the device of its parameter."""
    return value.to(parameter.device) if isinstance(value, Tensor) else value
