"""What a weighting remembers from step to step, most of it for each task by itself."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from torch import Tensor

from lightning_mtl.weightings.memory.entries import Entry, PerPair, PerParameter, PerTask, Single
from lightning_mtl.weightings.memory.presence import Presence

EntryT = TypeVar("EntryT", bound=Entry)


class Snapshot(NamedTuple):
    """The values of a memory at one moment, by the names of its entries."""

    values: dict[str, Tensor | None]
    measured_parameters: tuple[str, ...]


class TaskMemory(Presence):
    """The entries that a weighting declares in its constructor; saved with checkpoints.

    The base classes of the weightings call a weighting's mathematics inside `with
    memory.of(present):`. There, entries are read and written for the tasks that are present, and
    those of absent tasks stay as they were. Outside of it all tasks count as present.

    Attributes:
        tasks: the names of all tasks; empty until the first training step.
        measured_parameters: names and shapes of those that gradients were last measured at.
        learned: by task, the names of the parameters that it was seen to use.

    Example:
        >>> import torch
        >>> memory = TaskMemory()
        >>> average = memory.per_task("average", initial=0.0)
        >>> memory.tasks = ("a", "b", "c")
        >>> with memory.of([0, 2]):
        ...     average.write(torch.tensor([1.0, 3.0]))
        >>> average.read(torch.zeros(3))
        tensor([1., 0., 3.])
    """

    def __init__(self) -> None:
        super().__init__()
        self.measured_parameters: tuple[str, ...] = ()
        self.learned: Mapping[str, Sequence[str]] = {}
        self._entries: dict[str, Entry] = {}

    def per_task(self, name: str, initial: float = 0.0, measured: bool = False) -> PerTask:
        """Declare one number per task.

        Args:
            name: of the entry in checkpoints.
            initial: value before the first write.
            measured: whether to reset it when gradients are measured elsewhere, see
                `measured_at`; for numbers that have the size or the scale of gradients.
        """
        return self._declare(PerTask(self, name, initial, measured))

    def per_pair(self, name: str, initial: float = 0.0, measured: bool = False) -> PerPair:
        """Declare one number per pair of tasks; the arguments are those of `per_task`."""
        return self._declare(PerPair(self, name, initial, measured))

    def per_parameter(self, name: str) -> PerParameter:
        """Declare one vector per task, as long as a measured gradient; reset by `measured_at`."""
        return self._declare(PerParameter(self, name, 0.0, measured=True))

    def single(self, name: str) -> Single:
        """Declare a tensor that belongs to no task, such as a counter."""
        return self._declare(Single(self, name, 0.0, measured=False))

    def measured_at(self, place: Sequence[str]) -> None:
        """Reset the `measured` entries if gradients are now measured at other parameters.

        The place changes when a layer is frozen or thawed, or when a task that came late shows
        more parameters to be shared. Averages of gradients then have another size or scale.

        Args:
            place: names and shapes of the parameters at which gradients are measured.
        """
        if tuple(place) != self.measured_parameters:
            self.measured_parameters = tuple(place)
            for entry in self._entries.values():
                if entry.measured:
                    entry.forget()

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The values of all tasks, by the names of the entries that have been written."""
        entries = self._entries.items()
        return {name: entry.values for name, entry in entries if entry.values is not None}

    def snapshot(self, keeps_vectors: bool) -> Snapshot:
        """All that has been written, to go back to.

        Args:
            keeps_vectors: whether to copy the vectors of `per_parameter`, which change in place;
                without copies, going back leaves these as they are.
        """
        values = {name: entry.snapshot(keeps_vectors) for name, entry in self._entries.items()}
        return Snapshot(values, self.measured_parameters)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to what `snapshot` returned; may be called several times with one snapshot."""
        self.measured_parameters = snapshot.measured_parameters
        for name, value in snapshot.values.items():
            self._entries[name].restore(value)

    def state_dict(self) -> dict[str, Any]:
        """All that has been written, for a checkpoint; copies, as vectors are changed in place."""
        tensors = {name: value.clone() for name, value in self.tensors.items()}
        return {
            "tasks": list(self.tasks),
            "tensors": tensors,
            "measured_parameters": list(self.measured_parameters),
            "learned": {task: list(names) for task, names in self.learned.items()},
        }

    def load_state_dict(self, state: dict[str, Any], owner: str = "this weighting") -> None:
        """Restore what `state_dict` returned; entries that it lacks get their initial values.

        Args:
            state: of a checkpoint.
            owner: whose memory this is, for the message.

        Raises:
            ValueError: if the checkpoint holds entries that this weighting does not declare.
        """
        tensors = state["tensors"]
        unknown = sorted(tensors.keys() - self._entries.keys())
        if unknown:
            raise ValueError(
                f"The checkpoint of {owner} should have only entries that it declares,"
                f" {sorted(self._entries)}. Found {unknown}. Resume with the class, the arguments"
                " and the version that it was saved with, or start without the checkpoint."
            )
        self.tasks = tuple(state["tasks"])
        self.measured_parameters = tuple(state["measured_parameters"])
        self.learned = dict(state.get("learned", {}))
        for name, entry in self._entries.items():
            entry.values = tensors[name].clone() if name in tensors else None

    def _declare(self, entry: EntryT) -> EntryT:
        if entry.name in self._entries:
            raise ValueError(
                f"Entries of a memory should have different names. Found {entry.name!r} twice."
                " Rename one of them."
            )
        self._entries[entry.name] = entry
        return entry
