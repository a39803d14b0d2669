"""The entries of a `TaskMemory`: numbers by task and by pair of tasks, vectors, single tensors."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mtl.engine.transfers import to_device
from lightning_mtl.weightings.memory.presence import Presence


class Entry:
    """Base of the entries of a `TaskMemory`, which declares them.

    Attributes:
        name: of the entry in checkpoints.
        measured: whether it begins anew when gradients are measured elsewhere.
        values: of all tasks; `None` before the first write.
    """

    def __init__(self, presence: Presence, name: str, initial: float, measured: bool) -> None:
        self.name = name
        self.measured = measured
        self.values: Tensor | None = None
        self._presence = presence
        self._initial = initial

    def forget(self) -> None:
        """Return to the initial values."""
        self.values = None

    def snapshot(self, keeps_vectors: bool) -> Tensor | None:
        """The values now: the tensor itself, as writing replaces it."""
        return self.values

    def restore(self, snapshot: Tensor | None) -> None:
        """Go back to values that `snapshot` returned."""
        self.values = snapshot

    def _on(self, device: torch.device) -> Tensor | None:
        """The values on this device; a checkpoint may have left them on another one."""
        if self.values is not None:
            self.values = self.values.to(device)
        return self.values


class PerTask(Entry):
    """One number for each task."""

    def read(self, like: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """The numbers of the present tasks. Changes nothing.

        Args:
            like: one number per present task, for the device, and for the dtype of initial values.
        """
        values = self._on(like.device)
        if values is None:
            return like.new_full((len(like),), self._initial)
        index = self._presence.present(len(like))
        return values if len(index) == len(values) else values[_on_device(index, values)]

    def write(self, values: Float[Tensor, " k"]) -> None:
        """Replace the numbers of the present tasks."""
        values = values.detach()
        index = self._presence.present(len(values))
        count = self._presence.num_tasks(len(values))
        if len(index) == count:
            self.values = values
            return
        before = self._on(values.device)
        after = values.new_full((count,), self._initial) if before is None else before.clone()
        after[_on_device(index, after)] = values.to(after)
        self.values = after


class PerPair(Entry):
    """One number for each pair of tasks."""

    def read(self, like: Float[Tensor, "k k"]) -> Float[Tensor, "k k"]:
        """The numbers of the pairs of present tasks. Changes nothing.

        Args:
            like: a matrix of the present tasks, for the device, and for the dtype of initial
                values.
        """
        values = self._on(like.device)
        if values is None:
            return torch.full_like(like, self._initial)
        index = self._presence.present(len(like))
        return values if len(index) == len(values) else values[_pairs(index, values)]

    def write(self, values: Float[Tensor, "k k"]) -> None:
        """Replace the numbers of the pairs of present tasks."""
        values = values.detach()
        index = self._presence.present(len(values))
        count = self._presence.num_tasks(len(values))
        if len(index) == count:
            self.values = values
            return
        before = self._on(values.device)
        after = values.new_full((count, count), self._initial) if before is None else before.clone()
        after[_pairs(index, after)] = values.to(after)
        self.values = after


class PerParameter(Entry):
    """A vector of the size of the measured gradients for each task."""

    def rows(self, count: int, size: int, like: Tensor) -> list[Float[Tensor, " P"]]:
        """The vectors of the present tasks, to be changed in place; zeros before the first call.

        In place, because a copy would be as large as the trunk, for every task.

        Args:
            count: how many tasks are present.
            size: P, the length of a vector.
            like: a tensor of the device and dtype that they should have.
        """
        if self.values is None:
            self.values = like.new_zeros(self._presence.num_tasks(count), size)
        self.values = self.values.to(like)
        return [self.values[task] for task in self._presence.present(count)]

    def snapshot(self, keeps_vectors: bool) -> Tensor | None:
        """A copy of the vectors, which change in place, if they are to be kept."""
        return self.values.clone() if keeps_vectors and self.values is not None else self.values

    def restore(self, snapshot: Tensor | None) -> None:
        """Go back to the vectors that were copied, if there were any."""
        if snapshot is None or snapshot is not self.values:
            self.values = None if snapshot is None else snapshot.clone()


class Single(Entry):
    """A tensor that belongs to no task; `values` holds it."""

    def count(self, happened: bool | Bool[Tensor, ""] = True) -> None:
        """Add one if something happened; the count starts at zero."""
        before = torch.zeros(()) if self.values is None else self.values
        self.values = before + happened

    def logs(self) -> dict[str, Tensor]:
        """The tensor under its name, for the logs; empty before it is first written."""
        return {} if self.values is None else {self.name: self.values}


def _on_device(index: list[int], values: Tensor) -> Tensor:
    return to_device(torch.tensor(index), values.device)


def _pairs(index: list[int], values: Tensor) -> tuple[Tensor, Tensor]:
    selected = _on_device(index, values)
    return selected[:, None], selected
