"""What a weighting remembers from step to step, most of it for each task by itself."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class TaskMemory:
    """The entries that a weighting declares in its constructor; saved with checkpoints.

    The base classes of the weightings enter `with memory.of(present):` around each call of a rule:
    inside, entries are read and written for the tasks that are present, and those of absent tasks
    stay as they were. Outside, as in a test of a formula, all tasks are present.

    Attributes:
        tasks: the names of all tasks; empty until the first training step.
        place: the parameters that gradients were measured at last, see `measured_at`.

    Example:
        >>> memory = TaskMemory()
        >>> average = memory.per_task("average", initial=0.0)
        >>> memory.tasks = ("a", "b", "c")
        >>> with memory.of([0, 2]):
        ...     average.write(torch.tensor([1.0, 3.0]))
        >>> average.read(torch.zeros(3))
        tensor([1., 0., 3.])
    """

    def __init__(self) -> None:
        self.tasks: tuple[str, ...] = ()
        self.place: tuple[str, ...] = ()
        self._present: Sequence[int] | None = None
        self._entries: dict[str, Entry] = {}

    def per_task(self, name: str, initial: float = 0.0, measured: bool = False) -> "PerTask":
        """Declare one number per task.

        Args:
            name: of the entry in checkpoints.
            initial: value before the first write.
            measured: whether it has the size or the scale of gradients, see `measured_at`.
        """
        return self._declare(PerTask(self, name, initial, measured))

    def per_pair(self, name: str, initial: float = 0.0, measured: bool = False) -> "PerPair":
        """Declare one number per pair of tasks; the arguments are those of `per_task`."""
        return self._declare(PerPair(self, name, initial, measured))

    def per_parameter(self, name: str) -> "PerParameter":
        """Declare a vector of the size of the shared parameters per task, see `measured_at`."""
        return self._declare(PerParameter(self, name, 0.0, measured=True))

    def single(self, name: str) -> "Single":
        """Declare a tensor that belongs to no task, such as a counter."""
        return self._declare(Single(self, name, 0.0, measured=False))

    @contextmanager
    def of(self, present: Sequence[int]) -> Iterator[None]:
        """Read and write the entries of these tasks only, given by their indices."""
        before, self._present = self._present, list(present)
        try:
            yield
        finally:
            self._present = before

    def present(self, count: int) -> list[int]:
        """The indices of the present tasks: all of them outside of `of`.

        Args:
            count: how many tasks are present.
        """
        return list(range(count)) if self._present is None else list(self._present)

    def num_tasks(self, count: int) -> int:
        """How many tasks there are, present or absent; `count` outside of `of`."""
        return count if self._present is None else len(self.tasks)

    def names(self, count: int) -> list[str]:
        """The names of the present tasks; their indices before the first training step.

        Args:
            count: how many tasks are present.
        """
        return [self.tasks[k] if self.tasks else str(k) for k in self.present(count)]

    def measured_at(self, place: Sequence[str]) -> None:
        """Forget the entries declared as measured if the last ones were measured elsewhere.

        The place changes when a layer is frozen or thawed, or when a task that came late shows
        more parameters to be shared. Averages of gradients then have another size or scale.

        Args:
            place: names and shapes of the parameters at which gradients are measured.
        """
        if tuple(place) != self.place:
            self.place = tuple(place)
            for entry in self._entries.values():
                if entry.measured:
                    entry.forget()

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The values of all tasks, by the names of the entries that have been written."""
        entries = self._entries.items()
        return {name: entry.values for name, entry in entries if entry.values is not None}

    def state_dict(self) -> dict[str, Any]:
        """All that has been written, for a checkpoint; copies, as vectors are changed in place."""
        tensors = {name: value.clone() for name, value in self.tensors.items()}
        return {"tasks": list(self.tasks), "tensors": tensors, "place": list(self.place)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError: if the checkpoint holds entries that this weighting does not declare.
        """
        tensors = state["tensors"]
        unknown = sorted(tensors.keys() - self._entries.keys())
        if unknown:
            raise ValueError(
                f"The checkpoint of this weighting should hold entries among"
                f" {sorted(self._entries)}. Found {unknown}. Resume with the class and the version"
                " that it was saved with, or start without the checkpoint."
            )
        self.tasks = tuple(state["tasks"])
        self.place = tuple(state["place"])
        for name, entry in self._entries.items():
            entry.values = tensors[name].clone() if name in tensors else None

    def _declare(self, entry: Any) -> Any:
        if entry.name in self._entries:
            raise ValueError(
                f"Entries of a memory should have different names. Found {entry.name!r} twice."
                " Rename one of them."
            )
        self._entries[entry.name] = entry
        return entry


class Entry:
    """Base of the entries of a `TaskMemory`, which declares them.

    Attributes:
        name: of the entry in checkpoints.
        measured: whether it begins anew when gradients are measured elsewhere.
        values: of all tasks; `None` before the first write.
    """

    def __init__(self, memory: TaskMemory, name: str, initial: float, measured: bool) -> None:
        self.name = name
        self.measured = measured
        self.values: Tensor | None = None
        self._memory = memory
        self._initial = initial

    def forget(self) -> None:
        """Return to the initial values."""
        self.values = None

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
        index = self._memory.present(len(like))
        return values if len(index) == len(values) else values[_on_device(index, values)]

    def write(self, values: Float[Tensor, " k"]) -> None:
        """Replace the numbers of the present tasks."""
        values = values.detach()
        index = self._memory.present(len(values))
        count = self._memory.num_tasks(len(values))
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
        index = self._memory.present(len(like))
        return values if len(index) == len(values) else values[_pairs(index, values)]

    def write(self, values: Float[Tensor, "k k"]) -> None:
        """Replace the numbers of the pairs of present tasks."""
        values = values.detach()
        index = self._memory.present(len(values))
        count = self._memory.num_tasks(len(values))
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
            self.values = like.new_zeros(self._memory.num_tasks(count), size)
        self.values = self.values.to(like)
        return [self.values[task] for task in self._memory.present(count)]


class Single(Entry):
    """A tensor that belongs to no task; `values` holds it."""

    def count(self, happened: bool = True) -> None:
        """Add one if something happened; the count starts at zero."""
        before = torch.zeros(()) if self.values is None else self.values
        self.values = before + float(happened)

    def logs(self) -> dict[str, Tensor]:
        """The tensor under its name, for the logs; empty before it is first written."""
        return {} if self.values is None else {self.name: self.values}


def _on_device(index: list[int], values: Tensor) -> Tensor:
    return torch.tensor(index, device=values.device)


def _pairs(index: list[int], values: Tensor) -> tuple[Tensor, Tensor]:
    selected = _on_device(index, values)
    return selected[:, None], selected
