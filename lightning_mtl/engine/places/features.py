"""Measuring at the shared features."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.distributed import sum_over_ranks
from lightning_mtl.engine.gradients import Gradients, gramian
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.places.place import Place
from lightning_mtl.engine.task_backward import TaskBackward
from lightning_mtl.engine.window import Window, select_block


class Features(Place):
    """The shared features, where the heads leave the trunk: K passes of the heads, paid anyway.

    MGDA-UB of Sener & Koltun, NeurIPS 2018. Samples have features of their own, so the Gramians
    of sub-batches add up.
    """

    price: ClassVar[str] = "F + H + B"
    extra: ClassVar[str] = ""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget what was measured before. Called at the start of each window."""
        self._sum: Float[Tensor, "K K"] | None = None

    def accumulate(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """Add the Gramian of this micro-batch's gradients at the features."""
        block = gramian(feature_rows(micro_batch, backward))
        products = micro_batch.scatter_to_all_tasks(block)
        self._sum = products if self._sum is None else self._sum + products

    def accumulate_collected(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """As `accumulate`: the rows of the trunk do not hold the gradients at the features."""
        self.accumulate(micro_batch, backward)

    def gramian(self, window: Window) -> Float[Tensor, "k k"]:
        """The sum over micro-batches and ranks, of the window's tasks."""
        assert self._sum is not None
        return select_block(sum_over_ranks(self._sum), window.present)


def feature_rows(micro_batch: MicroBatch, backward: TaskBackward) -> list[Gradients]:
    """For each of this rank's tasks its gradients at the shared features.

    These are the tensors that the module names, or else those at which the task graphs part.
    """
    features = micro_batch.features()
    return backward.feature_rows() if features is None else backward.rows_at(features)
