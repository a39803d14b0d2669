"""Products of the gradients of different sub-batches."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.distributed import sum_over_ranks
from lightning_mtl.engine.coming import Coming
from lightning_mtl.engine.gradients import Gradients
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.places.place import Place, RowPlace
from lightning_mtl.engine.task_backward import TaskBackward
from lightning_mtl.engine.window import Window, select_block


class CrossGramian(Place):
    """The mean of J_r J_sᵀ over different sub-batches r ≠ s, measured at another place.

    Sub-batches are the micro-batches of all ranks. Their noise is independent, so that the products
    have no bias from it; but the matrix need not be positive semi-definite. Where no two different
    sub-batches have the two tasks of an entry, the entry is that of the Gramian.

    Args:
        place: where the gradients are measured.
    """

    def __init__(self, place: RowPlace) -> None:
        self.place = place
        self.price = place.price  # type: ignore[misc]
        self.extra = place.extra  # type: ignore[misc]
        self.takes_whole_trunk = place.takes_whole_trunk  # type: ignore[misc]
        self.begin()

    def begin(self) -> None:
        """Forget what was measured before. Called at the start of each window."""
        self.place.begin()
        self._own: Float[Tensor, "2 K K"] | None = None

    def prepare(self, coming: Coming, draw_seed: Callable[[], int]) -> Sequence[Tensor]:
        """Get ready at the other place."""
        return self.place.prepare(coming, draw_seed)

    def release(self) -> None:
        """Let go of what the other place has set up."""
        self.place.release()

    def accumulate(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """Measure this micro-batch, and add the Gramian that it has with itself."""
        self.place.accumulate(micro_batch, backward)
        self._add_sub_batch(micro_batch, self.place.micro_batch_rows(micro_batch, backward))

    def accumulate_collected(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """Add the Gramian that this micro-batch has with itself."""
        self.place.accumulate_collected(micro_batch, backward)
        self._add_sub_batch(micro_batch, self.place.micro_batch_rows(micro_batch, backward))

    def gramian(self, window: Window) -> Float[Tensor, "k k"]:
        """Σ_r J_r times itself, less the products of each sub-batch with itself.

        With the sums and each sub-batch's own Gramian, no further passes are needed.
        """
        assert self._own is not None
        measured = self.place.gramian(window)
        own, same = (select_block(matrix, window.present) for matrix in sum_over_ranks(self._own))
        counts = window.counts.to(measured)
        pairs = torch.outer(counts, counts)
        # Where one sub-batch alone has the two tasks, what remains is rounding.
        others = torch.where(pairs - same > 1e-6 * pairs, pairs - same, 0.0)
        crossed = (measured - own) * pairs / torch.where(others > 0, others, 1.0)
        return torch.where(others > 0, crossed, measured)

    def _add_sub_batch(self, micro_batch: MicroBatch, rows: Sequence[Gradients]) -> None:
        """Add one sub-batch's Gramian, and its counts of both tasks of a pair."""
        block = self.place.products(list(rows))
        counts = micro_batch.local_counts.to(block)
        both = torch.stack(
            [
                micro_batch.scatter_to_all_tasks(block),
                micro_batch.scatter_to_all_tasks(torch.outer(counts, counts)),
            ]
        )
        self._own = both if self._own is None else self._own + both
