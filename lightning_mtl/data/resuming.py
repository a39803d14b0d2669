"""Batches of training that a resumed run draws as the uninterrupted run would have."""

from collections.abc import Iterator, Mapping, Sized
from itertools import islice
from types import MappingProxyType
from typing import Any, TypeVar, cast

import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler

from lightning_mtl.data.seeding import one_seed, seeded

__all__ = ["EpochSampler", "ResumableLoader", "SeededDataset"]

Item = TypeVar("Item")


class EpochSampler(RandomSampler):
    """An order of the samples that depends on a seed and on the number of the epoch alone.

    Lightning tells it the epoch; without that, each iteration is one epoch further. Under DDP
    Lightning replaces it, as any `RandomSampler`, by its own, which has an epoch too.

    Args:
        data: the samples, of which only the number counts.
        seed: seed of the order.
    """

    def __init__(self, data: Sized, seed: int) -> None:
        super().__init__(data)
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose order is next, called by the Trainer when an epoch starts."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """The indices of the samples in the order of the epoch."""
        generator = torch.Generator().manual_seed(one_seed(self.seed, self.epoch))
        self.epoch += 1
        yield from torch.randperm(len(self), generator=generator).tolist()


class SeededDataset(Dataset[Item]):
    """Draws random numbers for a sample that depend on seed, epoch and index alone.

    So an augmentation by torch's generator is the same in any worker, and in a resumed run. The
    generator is left as it was.

    Args:
        data: the data set.
        seed: seed of the random numbers.

    Attributes:
        epoch: number of the epoch, in memory that workers share, since they outlive an epoch.
    """

    def __init__(self, data: Dataset[Item], seed: int) -> None:
        self.data = data
        self.seed = seed
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(cast(Sized, self.data))

    def __getitem__(self, index: int) -> Item:
        """The sample, with random numbers of its own."""
        with seeded(self.seed, int(self.epoch), index):
            return self.data[index]


class ResumableLoader(DataLoader[Item]):
    """A loader of a `SeededDataset` that goes on where a checkpoint within an epoch was saved.

    Lightning saves its state with a checkpoint and gives it back, as for any loader that has one.
    """

    _epoch: int | None = None
    _position = 0
    _to_load: Mapping[str, Any] = MappingProxyType({})

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """The batches of the next epoch, or what is left of it after `load_state_dict`."""
        self._epoch = getattr(self.sampler, "epoch", None)
        cast(SeededDataset[Item], self.dataset).epoch.fill_(self._epoch or 0)
        # What was saved at the end of an epoch says nothing of the next one.
        goes_on = self._epoch is not None and self._to_load.get("epoch") == self._epoch
        self._position = self._to_load["position"] if goes_on else 0
        self._to_load = {}
        batches = self._from(self._position) if self._position else super().__iter__()
        for batch in batches:
            self._position += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and how many batches of it were drawn; called when a checkpoint is saved."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, called before the first batch of a resumed run.

        Args:
            state: what `state_dict` returned.
        """
        self._to_load = state

    def _from(self, position: int) -> Iterator[Any]:
        """The batches from a position on; those before are not read."""
        assert self.batch_sampler is not None
        rest: DataLoader[Item] = DataLoader(
            self.dataset,
            batch_sampler=list(islice(self.batch_sampler, position, None)),
            num_workers=self.num_workers,
            collate_fn=self.collate_fn,
            pin_memory=self.pin_memory,
            worker_init_fn=self.worker_init_fn,
            prefetch_factor=self.prefetch_factor,
        )
        return iter(rest)
