"""Groups of tasks without conflicting gradients, of which one steps on each batch."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.checks import check_number
from lightning_mtl.weightings.alternating.groupings.coloring import conflicts, welsh_powell
from lightning_mtl.weightings.alternating.groupings.grouping import Grouping, OptimizerState
from lightning_mtl.weightings.memory.task_memory import TaskMemory


class ConflictGroups(Grouping):
    """Colours the graph of conflicting tasks every R batches; the colours take the batches in turn.

    The first batch, and every R-th after it, is differentiated for every task; it trains the colour
    whose turn it is all the same. The Gramian is averaged over these batches, G ← β G + (1 - β) G_t
    for the pairs of tasks that a batch has, without the bias of its start. New colours start with
    the next batch. Before the first colouring all tasks are one group.

    Args:
        memory: of the weighting.
        tolerance: τ, the conflict that a colour may have: edges are where -cos(g_i, g_j) > τ.
        every_n_steps: R.
        decay: β of the averaged Gramian.
    """

    optimizer_state: ClassVar[OptimizerState] = "shared"

    def __init__(
        self,
        memory: TaskMemory,
        tolerance: float = 0.1,
        every_n_steps: int = 32,
        decay: float = 0.9,
    ) -> None:
        super().__init__(memory)
        check_number("AlternatingUpdates", "conflict_tolerance", tolerance, 0, 1)
        check_number("AlternatingUpdates", "conflict_every_n_steps", every_n_steps, 1)
        if not 0 <= decay < 1:
            raise ValueError(
                f"`AlternatingUpdates(conflict_decay=)` should lie in [0, 1). Found {decay}. Use 0"
                " for the Gramian of the last batch that was measured."
            )
        self.tolerance = tolerance
        self.every_n_steps = every_n_steps
        self.decay = decay
        self._memory = memory
        self._sums = memory.per_pair("conflict_sums")
        self._shares = memory.per_pair("conflict_shares")
        self._since = memory.single("since_coloring")

    @property
    def price(self) -> str:  # type: ignore[override]
        """One group steps on a batch; one that measures has all heads and K trunk passes."""
        return f"F + B + H / n for n groups; F + K B + H in one of {self.every_n_steps} batches"

    def turns(self, tasks: int) -> list[int]:
        """The one group whose turn it is. Called once a batch."""
        if not self.drawn:
            self._group.values = torch.zeros(tasks, dtype=torch.long)
        since = 0 if self._since.values is None else int(self._since.values)
        never = self._shares.values is None
        self.measures = tasks > 1 and (never or since >= self.every_n_steps - 1)
        self._since.count()
        return [since % len(self.groups())]

    def observe_gramian(self, present: Sequence[int], gramian: Float[Tensor, "k k"]) -> None:
        """Average the Gramian, and colour the tasks anew, if it is finite.

        A Gramian that is not, of a step that a loss scaler skips, is measured again in the next
        batch.
        """
        if not bool(gramian.isfinite().all()):
            return
        with self._memory.of(present):
            sums, shares = self._sums.read(gramian), self._shares.read(gramian)
            self._sums.write(torch.lerp(gramian, sums, self.decay))
            self._shares.write(torch.lerp(torch.ones_like(shares), shares, self.decay))
        self._group.values = torch.tensor(welsh_powell(conflicts(self.average(), self.tolerance)))
        self._since.values = torch.zeros(())

    def average(self) -> Float[Tensor, "K K"]:
        """The averaged Gramian of all tasks; zeros for pairs that no batch has had."""
        sums, shares = self._sums.values, self._shares.values
        assert sums is not None and shares is not None
        return torch.where(shares > 0, sums / torch.where(shares > 0, shares, 1.0), 0.0).cpu()
