"""What a weighting remembers of its probes: their averages, and the weights that follow."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.probing.averages import gramian, updated
from lightning_mtl.weightings.memory.task_memory import TaskMemory

WARM_UP = 20
"""Probes of a task before its weights are solved for: the first few tell no cosine."""


class ProbeMemory:
    """The averages of z zᵀ over steps, and the weights of the next step; saved in checkpoints.

    Args:
        memory: of the weighting.
        decay: of the averages, at each probe.

    Attributes:
        warm_up: how many probes a task needs before its weights are solved for.
    """

    def __init__(self, memory: TaskMemory, decay: float) -> None:
        self._memory = memory
        self._decay = decay
        self._moment = memory.per_pair("probe_moment", measured=True)
        self._weight = memory.per_pair("probe_weight", measured=True)
        self._count = memory.per_task("probe_count", measured=True)
        self._weights = memory.per_task("probe_weights", initial=1.0)
        self._partial = memory.single("probe_partial")
        self.warm_up = WARM_UP

    @property
    def is_partial(self) -> bool:
        """Whether some probe lacked a task in some micro-batch.

        Pairs of tasks were then probed in different steps, and may not fit together.
        """
        return self._partial.values is not None

    def read(self, present: Sequence[int], like: Tensor) -> Float[Tensor, " k"]:
        """The weights of this step: 1 before the first solution.

        Args:
            present: indices of the tasks.
            like: a tensor of the device and the dtype of the weights.
        """
        with self._memory.of(present):
            return self._weights.read(like.new_ones(len(present)))

    def learn(
        self,
        present: Sequence[int],
        slopes: Float[Tensor, " k"],
        whole: bool,
        solve: Callable[[Float[Tensor, "k k"]], Float[Tensor, " k"]],
    ) -> None:
        """Average one more probe; solve for the next step once every task has enough of them.

        Args:
            present: indices of the tasks.
            slopes: z, of these tasks.
            whole: whether these are all tasks, each in all micro-batches.
            solve: the weights that follow from a Gramian.
        """
        if not whole:
            self._partial.values = torch.tensor(True)
        with self._memory.of(present):
            moment = self._moment.read(slopes.new_zeros(len(slopes), len(slopes)))
            weight = self._weight.read(torch.zeros_like(moment))
            moment, weight = updated(moment, weight, slopes, self._decay)
            self._moment.write(moment)
            self._weight.write(weight)
            count = self._count.read(torch.zeros(len(slopes))) + 1
            self._count.write(count)
            if float(count.min()) >= self.warm_up:
                self._weights.write(solve(gramian(moment, weight)))
