"""`MixtureLoader`: loads the batches of a `MixtureSampler`, and knows which of them were used."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch.utils.data import DataLoader, Dataset

from lightning_mtl.data.mixture.mixture_sampler import MixtureSampler
from lightning_mtl.data.mixture.task_datasets import collate_tasks
from lightning_mtl.data.mixture.task_order import Visit
from lightning_mtl.data.seeding import seeded


class MixtureLoader:
    """Batches of several data sets, in the shares of a sampler, that a resumed run goes on with.

    Lightning saves its state with every checkpoint and gives it back, as for any loader that has
    one, so that a run that was interrupted within an epoch sees what the uninterrupted one would
    have seen, also where workers had drawn batches ahead and the weights had changed since: the
    state names the composition of these batches, which are drawn again, and the weights that hold
    after them. A change of weights takes effect in the next batch, or with workers
    `num_workers * prefetch_factor` batches later (2 by default for each worker).

    Random numbers that a sample draws from torch's generator, as augmentations do, depend on the
    seed, on the sample and on how many times it has been drawn, so that they are the same in any
    worker and in a resumed run.

    It uses a `DataLoader` but is none, so that Lightning leaves it as it is: the ranks are dealt
    their samples by the sampler, whatever `Trainer(use_distributed_sampler=)` is.

    Args:
        dataset: the data sets of the tasks, joined in the order of the sampler's tasks:
            `TaskDatasets`, or torch's `ConcatDataset`.
        sampler: draws the batches.
        collate_fn: makes a batch of samples; the default suits `TaskDatasets`.
        num_workers: processes that load; 0 loads in the main one.
        pin_memory: page-locked batches.
        persistent_workers: whether workers live on from epoch to epoch.
        prefetch_factor: batches that each worker has ready; by default 2.
        seed: of the random numbers of samples.

    Attributes:
        batch_sampler: the sampler, under the name by which Lightning finds it.
        counts: the samples of each task in the batch that was handed out last.

    Raises:
        ValueError: if the data has not as many samples as the sampler knows of.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        sampler: MixtureSampler,
        collate_fn: Callable[[list[Any]], Any] = collate_tasks,
        *,
        num_workers: int = 0,
        pin_memory: bool = False,
        persistent_workers: bool = False,
        prefetch_factor: int | None = None,
        seed: int = 0,
    ) -> None:
        samples = sum(sampler.sizes.values())
        if len(dataset) != samples:  # type: ignore[arg-type]
            raise ValueError(
                f"`MixtureLoader(dataset=)` should have the {samples} samples of its sampler's"
                f" tasks, {sampler.sizes}. Found {len(dataset)}."  # type: ignore[arg-type]
                " Join the data sets that the sampler was given the sizes of, in the same order."
            )
        self.dataset = dataset
        self.batch_sampler = sampler
        self.counts: dict[str, int] = {}
        self._draws = _Draws(sampler)
        self._loader: DataLoader[Any] = DataLoader(
            _SeededVisits(dataset, seed),
            batch_sampler=self._draws,  # type: ignore[arg-type]
            collate_fn=collate_fn,
            num_workers=num_workers,
            pin_memory=pin_memory,
            persistent_workers=persistent_workers,
            prefetch_factor=prefetch_factor,
        )
        self._epoch: int | None = None
        self._position = 0
        self._to_load: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Any]:
        """The batches of the next epoch, or what is left of it after `load_state_dict`."""
        sampler, draws = self.batch_sampler, self._draws
        # An epoch that was cut short may have left batches that nobody has seen.
        sampler.put_back(draws.ahead)
        self._epoch = sampler.epoch
        self._position = 0
        planned: Sequence[Mapping[str, int]] = ()
        if self._to_load is not None and self._to_load["epoch"] == self._epoch:
            # What was saved at the end of an epoch says nothing of the next one.
            self._position, planned = self._to_load["position"], self._to_load["ahead"]
        self._to_load = None
        # Without a Trainer, each iteration is one epoch further.
        sampler.epoch += 1
        draws.plan(len(self) - self._position, planned)
        for batch in self._loader:
            self._position += 1
            self.counts = draws.hand_out()
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Where training is, without what was drawn ahead. Called when a checkpoint is saved.

        It is the same on all ranks.

        Returns:
            The sampler's state as it was when the last batch that was handed out had been drawn,
            with the weights of now; the epoch and the batch within it; and the samples of each
            task in the batches that were drawn since.
        """
        draws, sampler = self._draws, self.batch_sampler
        if self._to_load is not None:
            # No batch was drawn since the last state was given back.
            return {**self._to_load, "sampler": sampler.state_dict()}
        return {
            "sampler": sampler.state_dict(draws.ahead),
            "epoch": sampler.epoch if self._epoch is None else self._epoch,
            "position": self._position,
            "ahead": [*draws.ahead, *draws.planned],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. Called before the first batch of a resumed run.

        Args:
            state: what `state_dict` returned.

        Raises:
            ValueError: if it is the state of other tasks.
        """
        self._draws.ahead.clear()
        self.batch_sampler.load_state_dict(state["sampler"])
        over = state["position"] >= len(self)
        self.batch_sampler.set_epoch(state["epoch"] + over)
        self._to_load = state


class _Draws:
    """Draws the batches of an epoch for a `DataLoader`, and knows which nobody has seen yet.

    Args:
        sampler: draws a batch.

    Attributes:
        ahead: the samples of each task in the batches that were drawn and not handed out.
        planned: those of the batches that are drawn next, whatever the weights are.
    """

    def __init__(self, sampler: MixtureSampler) -> None:
        self._sampler = sampler
        self._left = 0
        self.ahead: deque[dict[str, int]] = deque()
        self.planned: deque[dict[str, int]] = deque()

    def plan(self, batches: int, planned: Sequence[Mapping[str, int]]) -> None:
        """Prepare for an epoch, of which so many batches are left.

        Args:
            batches: how many to draw.
            planned: the samples of each task in the first of them.
        """
        self._left = batches
        self.ahead.clear()
        self.planned = deque(map(dict, planned))

    def __len__(self) -> int:
        """The number of batches that are left."""
        return self._left

    def __iter__(self) -> Iterator[list[Visit]]:
        """The batches, each drawn when the loader asks for it."""
        for _ in range(self._left):
            counts = self.planned.popleft() if self.planned else self._sampler.counts
            self.ahead.append(counts)
            yield self._sampler.draw(counts)

    def hand_out(self) -> dict[str, int]:
        """The samples of each task in the next batch, which from now on is not ahead."""
        return self.ahead.popleft()


class _SeededVisits(Dataset[Any]):
    """Looks a sample up with random numbers of its own, which differ from visit to visit."""

    def __init__(self, data: Dataset[Any], seed: int) -> None:
        self._data = data
        self._seed = seed

    def __getitem__(self, visit: Visit) -> Any:
        """The sample, with torch's generator seeded by seed, sample and number of the visit."""
        with seeded(self._seed, visit.sample, visit.number):
            return self._data[visit.sample]
