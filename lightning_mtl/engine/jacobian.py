"""The task gradients of a window as one matrix, which is filled a row at a time."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.distributed import BUCKET, sum_in_place_over_ranks
from lightning_mtl.engine.gradients import CACHE, Gradients, real, views_of
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.task_backward import TaskBackward
from lightning_mtl.engine.window import Window


class JacobianSum:
    """J of one window: beside the matrix no more than one row is alive at a time."""

    def __init__(self) -> None:
        self._matrix: Float[Tensor, "K P"] | None = None

    def accumulate(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        """Add this micro-batch's gradients of all tasks; those of the heads go to the window."""
        window, shared = micro_batch.window, micro_batch.partition.shared
        matrix = self._matrix_for(micro_batch)
        for task, row in zip(micro_batch.local, backward.each_row(shared), strict=True):
            window.rows[task] = _add_to_row(matrix[task], row, shared)
            row.clear()
        micro_batch.collect_heads(backward)

    def take(self, window: Window) -> Float[Tensor, "k P"]:
        """J: the gradients of the window's tasks, means over micro-batches and ranks.

        This sum and the window drop their references, so that only the caller keeps it.
        """
        matrix = self._matrix
        assert matrix is not None
        self._matrix = None
        window.rows.clear()
        # Absent tasks have no row. Tasks are in order: none is written over before it has moved.
        for place, task in enumerate(window.present):
            if place != task:
                matrix[place].copy_(matrix[task])
        jacobian = sum_in_place_over_ranks(matrix[: len(window.present)])
        return jacobian.div_(window.normalisers()[:, None])

    def _matrix_for(self, micro_batch: MicroBatch) -> Float[Tensor, "K P"]:
        shared = micro_batch.partition.shared
        size = sum(real(parameter.detach()).numel() for parameter in shared)
        if self._matrix is None or self._matrix.shape[1] != size:
            tasks = len(micro_batch.partition.tasks)
            self._matrix = micro_batch.losses.new_zeros(tasks, size)
            # What was collected before a graph showed more parameters to be shared.
            for task, row in micro_batch.window.rows.items():
                micro_batch.window.rows[task] = _add_to_row(self._matrix[task], row, shared)
        return self._matrix


def columns(*tensors: Float[Tensor, "*k P"]) -> Iterator[tuple[Float[Tensor, "*k p"], ...]]:
    """The same columns of several matrices or vectors, some at a time, as views.

    Computing with a few columns at a time takes little memory: as many as fit into the cache on
    the host, and enough to keep a device busy.
    """
    limit = CACHE if tensors[0].device.type == "cpu" else BUCKET
    most = max(tensor[..., :1].numel() for tensor in tensors)
    size = max(1, limit // max(1, most))
    return zip(*(tensor.split(size, -1) for tensor in tensors), strict=True)


def _add_to_row(into: Float[Tensor, " P"], row: Gradients, shared: Sequence[Tensor]) -> Gradients:
    """Add a task's gradients to its row of the matrix, and return that row as views of it."""
    parts = views_of(into, shared)
    torch._foreach_add_(parts, [real(gradient) for gradient in row])
    return parts
