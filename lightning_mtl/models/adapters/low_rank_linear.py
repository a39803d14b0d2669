"""`LowRankLinear`, a frozen linear layer with low-rank updates, and the task that is computed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import sqrt
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ActiveTask", "LowRankLinear", "LowRankUpdate", "insert_updates"]


class ActiveTask:
    """The task whose updates are computed: an object that the layers of one network share."""

    def __init__(self) -> None:
        self._name: str | None = None

    @property
    def name(self) -> str:
        """The task.

        Raises:
            RuntimeError: if there is none, as where gradient checkpointing computes a layer again.
        """
        if self._name is None:
            raise RuntimeError(
                "`LowRankLinear` should be computed while a task is active. Found none. Call the"
                " network rather than its encoder, and without gradient checkpointing inside it."
            )
        return self._name

    @contextmanager
    def of(self, task: str) -> Iterator[None]:
        """Compute the updates of a task inside a `with` block, and of none after it."""
        self._name = task
        try:
            yield
        finally:
            self._name = None


class LowRankUpdate(nn.Module):
    """B A x, the product of two thin matrices; B starts at zero, and so does the update.

    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, equation 3.

    Args:
        in_features: of the layer.
        out_features: of the layer.
        rank: rows of A and columns of B.
    """

    def __init__(self, in_features: int, out_features: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(in_features, rank, bias=False)
        self.up = nn.Linear(rank, out_features, bias=False)
        nn.init.kaiming_uniform_(self.down.weight, a=sqrt(5))
        nn.init.zeros_(self.up.weight)

    @property
    def weight(self) -> Float[Tensor, "O I"]:
        """B A, which merges the update into the weight of the layer."""
        return self.up.weight @ self.down.weight

    def forward(self, inputs: Float[Tensor, "... I"]) -> Float[Tensor, "... O"]:
        """B A x, which is added to the output of the layer."""
        return self.up(self.down(inputs))


class LowRankLinear(nn.Module):
    """W x + b + s B A x + s B_t A_t x, where W and b are frozen.

    All tasks share the first update; the second belongs to the active task t.

    Args:
        linear: the layer that is adapted.
        tasks: names of the tasks.
        rank: of the update that all tasks share; 0 for none.
        task_rank: of the update of each task; 0 for none.
        scale: s.
        active: says which task is computed.
    """

    def __init__(
        self,
        linear: nn.Linear,
        tasks: Sequence[str],
        rank: int,
        task_rank: int,
        scale: float,
        active: ActiveTask,
    ) -> None:
        super().__init__()
        self.linear = linear
        self.scale = scale
        self.active = active
        size = linear.in_features, linear.out_features
        self.shared = LowRankUpdate(*size, rank) if rank else None
        self.of_task = nn.ModuleDict(
            {task: LowRankUpdate(*size, task_rank) for task in tasks if task_rank}
        )

    @property
    def updates(self) -> list[LowRankUpdate]:
        """Those that are added now.

        Raises:
            RuntimeError: if tasks have updates, and none is active.
        """
        shared = [] if self.shared is None else [self.shared]
        if not self.of_task:
            return shared
        return [*shared, cast(LowRankUpdate, self.of_task[self.active.name])]

    @property
    def weight(self) -> Float[Tensor, "O I"]:
        """The weight with its updates, for transformers that read it to add a bias of their own."""
        return self.linear.weight + self.scale * sum(update.weight for update in self.updates)

    def forward(self, inputs: Float[Tensor, "... I"]) -> Float[Tensor, "... O"]:
        """The layer and its updates."""
        added = sum(update(inputs) for update in self.updates)
        return F.linear(inputs, self.linear.weight, self.linear.bias) + self.scale * added


def insert_updates(
    module: nn.Module,
    layers: Sequence[str],
    tasks: Sequence[str],
    rank: int,
    task_rank: int,
    scale: float,
    active: ActiveTask,
) -> int:
    """Put a `LowRankLinear` around each linear layer of a module that has one of the names.

    Args:
        module: such as the blocks of a transformer.
        layers: names of attributes that hold linear layers.
        tasks: as for `LowRankLinear`.
        rank: as for `LowRankLinear`.
        task_rank: as for `LowRankLinear`.
        scale: as for `LowRankLinear`.
        active: as for `LowRankLinear`.

    Returns:
        How many there are.
    """
    found = [
        (owner, name, layer)
        for owner in module.modules()
        for name, layer in owner.named_children()
        if name in layers and isinstance(layer, nn.Linear)
    ]
    for owner, name, layer in found:
        setattr(owner, name, LowRankLinear(layer, tasks, rank, task_rank, scale, active))
    return len(found)
