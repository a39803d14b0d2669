"""The toy on batches of several parts, of which each has its own samples and tasks."""

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from tests.support.toy import TASKS, Graded, ResumableLoader, toy_data

Part = dict[str, Tensor]
"""Inputs `x`, and the targets of the tasks that are present, by their names."""

EPOCHS = 3
"""Some rules leave equal weights only after an epoch, two epochs or a validation."""


def parts(sizes: Sequence[int], present: Sequence[Sequence[str]] = (TASKS,)) -> list[Part]:
    """Consecutive samples of the toy's data, as many in each part, with these tasks in turn."""
    x, *targets = toy_data(sum(sizes)).tensors
    columns = {"x": x, **dict(zip(TASKS, targets, strict=True))}
    split = zip(*(column.split(list(sizes)) for column in columns.values()), strict=True)
    return [
        {name: values for name, values in zip(columns, part, strict=True) if name in ("x", *tasks)}
        for part, tasks in zip(split, islice(cycle(present), len(sizes)), strict=True)
    ]


def joined(some: Sequence[Part]) -> Part:
    """One part of all the samples."""
    return {name: torch.cat([part[name] for part in some]) for name in some[0]}


def in_groups(some: Sequence[Part], size: int) -> list[list[Part]]:
    """Consecutive parts, a few to a group."""
    return [list(some[start : start + size]) for start in range(0, len(some), size)]


class Parts(Graded):
    """A task's loss is the mean over the parts of a batch that have the task, as over ranks."""

    def features_of(self, x: Tensor) -> Tensor:
        return self.trunk(x)

    def head_of(self, task: str, features: Tensor) -> Tensor:
        return self.heads[task](features)

    def task_losses(self, batch: Sequence[Part]) -> dict[str, Tensor]:
        features = self.features_of(torch.cat([part["x"] for part in batch]))
        pieces = features.split([len(part["x"]) for part in batch])
        losses: dict[str, list[Tensor]] = {task: [] for task in TASKS}
        for part, piece in zip(batch, pieces, strict=True):
            for task in [task for task in TASKS if task in part]:
                error = nn.functional.mse_loss(self.head_of(task, piece), part[task])
                losses[task].append(self.scales[task] * error)
        return {task: sum(each) / len(each) for task, each in losses.items() if each}


class PartsData(L.LightningDataModule):
    """A part of each batch for each rank; all of them where there is one rank.

    Validation is the same on every rank, so that ranks agree with one on its mean.
    """

    def __init__(self, batches: Sequence[Sequence[Part]]) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> ResumableLoader:
        rank = self.trainer.global_rank
        alone = self.trainer.world_size == 1
        return ResumableLoader([batch if alone else [batch[rank]] for batch in self.batches])

    def val_dataloader(self) -> ResumableLoader:
        return ResumableLoader([toy_data(16).tensors])


class Stream:
    """A stateful loader whose batches depend on nothing but how many came before.

    Args:
        batch_at: makes the batch after so many others.
        length: of an epoch.
    """

    def __init__(self, batch_at: Callable[[int], Any], length: int) -> None:
        self.batch_at = batch_at
        self.length = length
        self.position = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        for _ in range(self.length - self.position % self.length):
            self.position += 1
            yield self.batch_at(self.position - 1)

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]
