"""The memory of a weighting: named tensors, most of them with one entry per task."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class TaskState:
    """Named tensors that are made on first use, follow the device, and are saved with checkpoints.

    A weighting reads and writes the entries of the tasks that are present; those of absent tasks
    stay as they were. Outside of training, in a test of a formula, all tasks are present.

    Attributes:
        tasks: the names of all tasks.
        present: indices of those that are present; `None` for all.
        tensors: the entries.
        place: what gradients are measured at; entries that depend on it begin anew when it changes.
    """

    def __init__(self) -> None:
        self.tasks: tuple[str, ...] = ()
        self.present: Sequence[int] | None = None
        self.tensors: dict[str, Tensor] = {}
        self.place: tuple[str, ...] = ()

    def measure_at(self, place: Sequence[str], names: Sequence[str]) -> None:
        """Forget the entries `names` if they were measured elsewhere than at `place`."""
        if tuple(place) != self.place:
            self.place = tuple(place)
            for name in names:
                self.tensors.pop(name, None)

    def read(
        self, name: str, like: Float[Tensor, " k"], initial: float = 0.0
    ) -> Float[Tensor, " k"]:
        """The entries `name` of the present tasks, filled with `initial` on first use.

        Args:
            name: of the entry.
            like: one number per present task, for the device and dtype.
            initial: value of the first use.
        """
        value = self._whole(name, like, initial)
        return value if self.present is None else value[self._index(value)]

    def write(self, name: str, values: Float[Tensor, " k"]) -> None:
        """Replace the entries `name` of the present tasks; `read` must have made them."""
        if self.present is None:
            self.tensors[name] = values.detach()
        else:
            value = self.tensors[name].clone()
            value[self._index(value)] = values.detach()
            self.tensors[name] = value

    def count(self, name: str, happened: bool) -> None:
        """Count the steps in which something happened; a number of its own, not one per task."""
        self.tensors[name] = self.tensors.get(name, torch.zeros(())) + float(happened)

    def known(self, *names: str) -> dict[str, Tensor]:
        """Those of the entries `names` that have been made, whole."""
        return {name: self.tensors[name] for name in names if name in self.tensors}

    def state_dict(self) -> dict[str, Any]:
        """Everything, for a checkpoint: a copy, since rows are changed in place."""
        tensors = {name: value.clone() for name, value in self.tensors.items()}
        return {"tasks": list(self.tasks), "tensors": tensors, "place": list(self.place)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Everything, from a checkpoint."""
        self.tasks = tuple(state["tasks"])
        self.tensors = {name: value.clone() for name, value in state["tensors"].items()}
        self.place = tuple(state["place"])

    def _whole(self, name: str, like: Tensor, initial: float) -> Tensor:
        count = len(self.tasks) if self.present is not None else len(like)
        value = self.tensors.get(name)
        if value is None:
            value = like.new_full((count,), initial)
        self.tensors[name] = value = value.to(like.device)
        return value

    def _index(self, value: Tensor) -> slice | Tensor:
        present = self.present
        assert present is not None
        if len(present) == len(value):
            return slice(None)
        return torch.tensor(present, device=value.device)
