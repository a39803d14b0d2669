"""`MixtureSampler`: batches with a given share of samples of every task."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from torch.utils.data import Sampler

from lightning_mtl import distributed
from lightning_mtl.checks import check_number
from lightning_mtl.data.mixture.shares import batch_counts, checked_weights
from lightning_mtl.data.mixture.task_order import TaskOrder, Visit


class MixtureSampler(Sampler[list[int]]):
    """Draws batches in which every task has its share of samples.

    The batch sampler of `torch.utils.data.ConcatDataset`, or of `TaskDatasets`, over one data set
    for each task. A batch has b_k = round(b w_k) samples of task k, see `batch_counts`; they sum to
    b. Samples of a task are drawn without replacement, from epoch to epoch, until all have been
    drawn, and are then shuffled anew.

    Every rank draws batches of the same composition and of other samples: those of R ranks together
    are a batch of R b samples. The orders depend on `seed` alone, the same on all ranks.

    Weights may be set at any time; they hold from the next batch on that is drawn. A loader with
    workers draws `num_workers * prefetch_factor` batches ahead, and the sampler cannot know which
    of them have been trained on: `MixtureLoader` does, and is what resumes exactly. In a plain
    `DataLoader` on several ranks, set `Trainer(use_distributed_sampler=False)`: Lightning would put
    a sampler of its own in place, and raises an error because it cannot.

    Args:
        sizes: the number of samples of each task, in the order of their data sets.
        batch_size: b, samples per batch and process.
        weights: w_k by the names of the tasks, of any positive sum; by default equal ones. Those of
            `temperature_weights` follow the sizes. A task of weight 0 is left out.
        batches: how many make an epoch; by default as many as all samples fill.
        seed: of the orders.
        least: fewest samples in a batch of a task that is not left out.
        rank: the number of this process; by default that of torch's process group.
        ranks: the number of processes; by default that of torch's process group.

    Attributes:
        tasks: the names of the tasks.
        batch_size: as given.
        epoch: the number of the epoch, as the Trainer tells it.

    Raises:
        ValueError: if there is no task, a number is too small, the weights are not those of the
            tasks, or `batch_size` does not suffice for `least` samples of each.

    >>> weights = {"depth": 3, "edges": 1}
    >>> sampler = MixtureSampler({"depth": 6, "edges": 4}, batch_size=4, weights=weights)
    >>> sampler.counts
    {'depth': 3, 'edges': 1}
    >>> [sorted(batch) for batch in sampler]
    [[0, 3, 4, 6], [1, 2, 5, 8]]
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        batch_size: int,
        weights: Mapping[str, float] | None = None,
        batches: int | None = None,
        *,
        seed: int = 0,
        least: int = 1,
        rank: int | None = None,
        ranks: int | None = None,
    ) -> None:
        name = type(self).__name__
        if not sizes:
            raise ValueError(f"`{name}(sizes=)` should name at least one task. Found none.")
        for task, size in sizes.items():
            check_number(name, f'sizes["{task}"]', size, 1, remedy="Leave an empty data set out.")
        check_number(name, "batch_size", batch_size, 1)
        check_number(name, "least", least, 0)
        if batches is not None:
            check_number(name, "batches", batches, 1)
        _check_rank(name, rank, ranks)
        self.tasks = tuple(sizes)
        self.sizes = dict(sizes)
        self.batch_size = batch_size
        self.least = least
        self.epoch = 0
        self._batches = batches
        self._rank, self._ranks = rank, ranks
        self._orders = [TaskOrder(size, seed, task) for task, size in enumerate(sizes.values())]
        self._offsets = [0, *accumulate(sizes.values())][:-1]
        self._drawn = [0] * len(sizes)
        self.weights = dict.fromkeys(self.tasks, 1.0) if weights is None else dict(weights)

    @property
    def weights(self) -> dict[str, float]:
        """w_k by the names of the tasks, in sum 1; set them to change the next batches."""
        return dict(zip(self.tasks, self._weights, strict=True))

    @weights.setter
    def weights(self, given: Mapping[str, float]) -> None:
        name = type(self).__name__
        weights = checked_weights(name, self.tasks, given)
        needed = self.least * sum(weight > 0 for weight in weights)
        if needed > self.batch_size:
            raise ValueError(
                f"`{name}(batch_size=)` should be at least {needed}, for {self.least} of each task."
                f" Found {self.batch_size}. Raise it, or lower `least`: with 0, tasks of a small"
                " weight are not in a batch."
            )
        self._weights = weights
        self._counts = batch_counts(weights, self.batch_size, self.least)

    @property
    def sampler(self) -> "MixtureSampler":
        """The sampler itself: under this name Lightning looks for what it tells the epoch."""
        return self

    @property
    def counts(self) -> dict[str, int]:
        """b_k, the samples of each task in the next batch, by the names of the tasks."""
        return dict(zip(self.tasks, self._counts, strict=True))

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        if self._batches is not None:
            return self._batches
        return max(sum(self.sizes.values()) // (self.batch_size * self._world()), 1)

    def __iter__(self) -> Iterator[list[int]]:
        """The indices of the samples in the batches of one epoch, drawn as they are asked for."""
        for _ in range(len(self)):
            yield [visit.sample for visit in self.draw()]

    def draw(self, counts: Mapping[str, int] | None = None) -> list[Visit]:
        """The next batch, with indices into the joined data sets.

        Args:
            counts: its samples of each task; by default those of the weights.
        """
        numbers = self._counts if counts is None else [counts[task] for task in self.tasks]
        ranks = self._world()
        rank = distributed.rank() if self._rank is None else self._rank
        batch: list[Visit] = []
        for task, count in enumerate(numbers):
            visits = self._orders[task].visits(self._drawn[task] + rank * count, count)
            batch += [Visit(self._offsets[task] + index, number) for index, number in visits]
            self._drawn[task] += ranks * count
        return batch

    def put_back(self, batches: Iterable[Mapping[str, int]]) -> None:
        """Take back the last batches, whose samples are then the next ones that are drawn.

        Args:
            batches: the samples of each task in them.
        """
        self._drawn = self._drawn_before(batches)

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the epoch. Called by the Trainer as it starts; changes no order."""
        self.epoch = epoch

    def state_dict(self, ahead: Iterable[Mapping[str, int]] = ()) -> dict[str, Any]:
        """The weights, and how many samples of each task all ranks have drawn.

        It is the same on all ranks, and fits any number of them.

        Args:
            ahead: the samples of each task in the last batches, which are left out.
        """
        drawn = self._drawn_before(ahead)
        return {"weights": self.weights, "drawn": dict(zip(self.tasks, drawn, strict=True))}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a sampler of the same tasks was.

        Args:
            state: what `state_dict` returned.

        Raises:
            ValueError: if it is the state of other tasks.
        """
        if set(state["drawn"]) != set(self.tasks):
            raise ValueError(
                f"`{type(self).__name__}` should go on from a state of the tasks"
                f" {list(self.tasks)}. Found one of {list(state['drawn'])}. Build it for the tasks"
                " of the run that was saved, or start a new run."
            )
        self.weights = state["weights"]
        self._drawn = [state["drawn"][task] for task in self.tasks]

    def _drawn_before(self, batches: Iterable[Mapping[str, int]]) -> list[int]:
        drawn = list(self._drawn)
        for counts in batches:
            for task, name in enumerate(self.tasks):
                drawn[task] -= self._world() * counts[name]
        return drawn

    def _world(self) -> int:
        return distributed.world_size() if self._ranks is None else self._ranks


def _check_rank(name: str, rank: int | None, ranks: int | None) -> None:
    """Raise unless rank and number of ranks are given together, and fit."""
    if (rank is None) != (ranks is None) or (
        rank is not None and ranks is not None and not 0 <= rank < ranks
    ):
        raise ValueError(
            f"`{name}(rank=, ranks=)` should be a number below `ranks`, or neither be given. Found"
            f" {rank} and {ranks}. Leave both out to take those of torch's process group."
        )
