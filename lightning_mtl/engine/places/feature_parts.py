"""Measuring the parts of a batch at the shared features."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.distributed import sum_over_ranks
from lightning_mtl.engine.gradients import real, wide_dtype
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.places.features import feature_rows
from lightning_mtl.engine.places.place import Place
from lightning_mtl.engine.task_backward import TaskBackward
from lightning_mtl.engine.window import Window, select


class FeatureParts(Place):
    """The shared features of n parts of the batch, cut along their first axis.

    What it gives in place of the Gramian of the tasks is a diagonal matrix: of each task the
    largest eigenvalue of the Gramian (n, n) of its gradients at the features over the parts. These
    are at features of different samples, and have no products, so that the eigenvalues are the
    squared norms. Part j has the samples j, j + n, j + 2n and so on of each micro-batch: any number
    of micro-batches and of ranks makes n parts.

    Args:
        parts: n.
    """

    price: ClassVar[str] = "F + H + B"
    extra: ClassVar[str] = ""

    def __init__(self, parts: int) -> None:
        self.parts = parts
        self.begin()

    def begin(self) -> None:
        """Forget what was measured before. Called at the start of each window."""
        self._sum: Float[Tensor, "K n"] | None = None

    def accumulate(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """Add the squared norms of this micro-batch's gradients, part by part."""
        rows = feature_rows(micro_batch, backward)
        found = dict(zip(micro_batch.local, rows, strict=True))
        absent = micro_batch.wide.new_zeros(self.parts)
        squares = torch.stack(
            [
                self._squares(found[task]) if task in found else absent
                for task in range(len(micro_batch.partition.tasks))
            ]
        )
        self._sum = squares if self._sum is None else self._sum + squares

    def accumulate_collected(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """As `accumulate`: the rows of the trunk do not hold the gradients at the features."""
        self.accumulate(micro_batch, backward)

    def gramian(self, window: Window) -> Float[Tensor, "k k"]:
        """The largest eigenvalue of each of the window's tasks, on the diagonal."""
        assert self._sum is not None
        squares = select(sum_over_ranks(self._sum), window.present)
        return torch.diag(squares.amax(1))

    def _squares(self, row: Sequence[Tensor]) -> Float[Tensor, " n"]:
        """The squared norm of a gradient at the features, by parts of the samples."""
        total = torch.zeros((), dtype=wide_dtype(row[0].device), device=row[0].device)
        for gradient in row:
            samples = real(gradient)
            each = samples.reshape(len(samples), -1) if samples.ndim else samples.view(1, 1)
            squares = torch.linalg.vector_norm(each, dim=1, dtype=total.dtype).square()
            missing = -len(squares) % self.parts
            padded = torch.nn.functional.pad(squares, (0, missing))
            total = total + padded.view(-1, self.parts).sum(0)
        return total
