"""Groups of tasks whose steps lower each other's losses."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mtl.checks import check_number
from lightning_mtl.distributed import world_size
from lightning_mtl.engine.gradients import wide_dtype
from lightning_mtl.engine.task_output import TaskOutput
from lightning_mtl.engine.task_totals import exchange
from lightning_mtl.engine.transfers import to_device
from lightning_mtl.weightings.alternating.groupings.affinity import similarities, updated
from lightning_mtl.weightings.alternating.groupings.clustering import (
    check_installed,
    in_order_of_first,
    propagate,
)
from lightning_mtl.weightings.alternating.groupings.grouping import Grouping, OptimizerState
from lightning_mtl.weightings.memory.random_stream import RandomStream
from lightning_mtl.weightings.memory.task_memory import TaskMemory


class AffinityGroups(Grouping):
    """Clusters tasks anew for every batch, by how the steps of groups have changed all losses.

    The groups step in random order, each on a forward pass of its own, which also shows what the
    step before has done. The last step of a batch is not judged, and takes no further pass; a
    single group steps twice.

    For the first `warm_up` batches each task is a group of its own; later, so is each task whose
    step has never lowered its own loss. Where the messages of the clustering do not settle, the
    groups stay.

    Args:
        memory: of the weighting.
        seed: of the orders; `None` for that of `seed_everything`.
        decay: d, by which the affinities move.
        warm_up: how many batches pass before tasks are grouped.
    """

    price: ClassVar[str] = "n (F + B) + H for n groups, 2 (F + B + H) for one"
    optimizer_state: ClassVar[OptimizerState] = "shared"

    def __init__(
        self, memory: TaskMemory, seed: int | None, decay: float = 1e-3, warm_up: int = 100
    ) -> None:
        super().__init__(memory)
        if not 0 < decay <= 1:
            raise ValueError(
                f"`AlternatingUpdates(affinity_decay=)` should lie in (0, 1]. Found {decay}. Use a"
                " small one to average over many batches."
            )
        check_number("AlternatingUpdates", "affinity_warm_up", warm_up, 0)
        check_installed()
        self.decay = decay
        self.warm_up = warm_up
        self.affinity = memory.per_pair("affinity")
        self._batches = memory.single("affinity_batches")
        self._stream = RandomStream(memory, seed)
        self._before: Float[Tensor, " K"] | None = None
        self._known: Bool[Tensor, " K"] | None = None
        self._stepped: list[int] = []

    def turns(self, tasks: int) -> list[int]:
        """All groups in random order, or one group twice. Clusters the tasks anew.

        After the warm-up this waits for the device, as the affinities come to the host.
        """
        self._before = None
        self._batches.count()
        assert self._batches.values is not None
        if not self.drawn:
            self._group.values = torch.arange(tasks)
        if self._batches.values > self.warm_up and self.affinity.values is not None:
            found = self.clusters(self.affinity.values.cpu())
            if found is not None:
                self._group.values = torch.tensor(found)
        count = len(self.groups())
        if count == 1:
            return [0] if tasks == 1 else [0, 0]
        with self._stream.drawing() as generator:
            return torch.randperm(count, generator=generator).tolist()

    def observe_losses(self, output: TaskOutput, tasks: Sequence[str], place: int) -> None:
        """Judge the step of the group before. Called in every forward pass of a batch."""
        losses, known = _over_ranks(output, tasks)
        if self._before is not None and self._known is not None:
            members = torch.zeros(len(tasks), dtype=torch.bool)
            members[self._stepped] = True
            self.learn(self._before, losses, known & self._known, to_device(members, known.device))
        self._before, self._known, self._stepped = losses, known, self.groups()[place]

    def learn(
        self,
        before: Float[Tensor, " K"],
        after: Float[Tensor, " K"],
        known: Bool[Tensor, " K"],
        members: Bool[Tensor, " K"],
    ) -> None:
        """Move the affinities by what the step of a group has done to the losses.

        Args:
            before: the losses of all tasks before the step.
            after: those of the same batch after it.
            known: the tasks that the batch has.
            members: the tasks of the group.
        """
        affinity = self.affinity.read(before.new_zeros(len(before), len(before)))
        moved = updated(affinity, before, after, known, members & known, self.decay)
        self.affinity.write(moved)

    @staticmethod
    def clusters(affinity: Float[Tensor, "K K"]) -> list[int] | None:
        """The group of each task; `None` if the clustering does not settle.

        Args:
            affinity: A, on the host.
        """
        usable = (affinity.diagonal() > 0).nonzero().flatten()
        labels = torch.arange(len(affinity)) + len(affinity)
        if len(usable):
            found = propagate(similarities(affinity[usable][:, usable]))
            if found is None:
                return None
            labels[usable] = torch.tensor(found)
        return in_order_of_first(labels.tolist())


def _over_ranks(
    output: TaskOutput, tasks: Sequence[str]
) -> tuple[Float[Tensor, " K"], Bool[Tensor, " K"]]:
    """The loss of each task, a mean over the ranks that have it, and which tasks there are."""
    like = next(iter(output.losses.values())).detach()
    like = like.to(wide_dtype(like.device))
    losses = {
        index: output.losses[task] for index, task in enumerate(tasks) if task in output.losses
    }
    counts = {
        index: output.counts[task] for index, task in enumerate(tasks) if task in output.counts
    }
    message = like.new_zeros(0) if world_size() > 1 else None
    totals, _ = exchange(losses, counts, len(tasks), like, None, message)
    return totals.means, totals.ranks > 0
