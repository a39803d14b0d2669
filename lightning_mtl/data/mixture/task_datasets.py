"""One data set for each task, joined, and the batches that are made of their samples."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

from torch.utils.data import ConcatDataset, Dataset, default_collate

Sample = TypeVar("Sample")


class Named(Dataset[tuple[str, Sample]], Generic[Sample]):
    """The samples of one task, each beside the name of the task.

    Args:
        task: the name.
        data: the samples, a map-style data set.
    """

    def __init__(self, task: str, data: Dataset[Sample]) -> None:
        self.task = task
        self.data = data

    def __len__(self) -> int:
        return len(self.data)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[str, Sample]:
        """The name of the task and the sample."""
        return self.task, self.data[index]


class TaskDatasets(ConcatDataset[tuple[str, Any]]):
    """The samples of several tasks one after the other, each beside the name of its task.

    For samples that differ from task to task; `collate_tasks` makes batches of them. Where all
    tasks share one form of samples, as dense scenes do, torch's own `ConcatDataset` and
    `lightning_mtl.data.collate` do without names.

    Args:
        tasks: one map-style data set by the name of each task.

    Attributes:
        sizes: the number of samples of each task, as `MixtureSampler` takes it.

    Raises:
        ValueError: if there is no task, or a data set is empty.
    """

    def __init__(self, tasks: Mapping[str, Dataset[Any]]) -> None:
        self.sizes = {task: len(cast(Sequence[Any], data)) for task, data in tasks.items()}
        if not all(self.sizes.values()) or not self.sizes:
            raise ValueError(
                "`TaskDatasets` should be given at least one task, and samples of each. Found"
                f" {self.sizes}. Leave tasks without samples out."
            )
        super().__init__([Named(task, data) for task, data in tasks.items()])


def collate_tasks(samples: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Makes one batch for each task that has samples, by torch's `default_collate`.

    A task without samples is not in the dict, so that it is absent from the step.

    Args:
        samples: each beside the name of its task.

    >>> collate_tasks([("age", (0.5, 31)), ("name", 7), ("age", (1.5, 64))])
    {'age': [tensor([0.5000, 1.5000], dtype=torch.float64), tensor([31, 64])], 'name': tensor([7])}
    """
    groups: dict[str, list[Any]] = {}
    for task, sample in samples:
        groups.setdefault(task, []).append(sample)
    return {task: default_collate(group) for task, group in groups.items()}
