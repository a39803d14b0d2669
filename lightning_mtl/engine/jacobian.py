"""The task gradients of a window as one matrix, which is filled a row at a time."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.distributed import sum_in_place_over_ranks
from lightning_mtl.engine.gradients import Gradients
from lightning_mtl.engine.micro_batch import Step
from lightning_mtl.engine.task_backward import TaskBackward


def collect_matrix(step: Step, backward: TaskBackward) -> None:
    """As `Step.collect`, into one matrix: beside it no more than one row is alive at a time."""
    window, shared = step.window, step.partition.shared
    if window.matrix is None:
        size = sum(parameter.numel() for parameter in shared)
        window.matrix = step.losses.new_zeros(len(step.partition.tasks), size)
        # What was collected before a task's first micro-batch showed more to be shared.
        for task, row in window.rows.items():
            window.rows[task] = _put(window.matrix[task], row, shared)
    for task, row in zip(step.local, backward.each_row(shared), strict=True):
        window.rows[task] = _put(window.matrix[task], row, shared)
        row.clear()
    step.collect_heads(backward)


def take_matrix(step: Step) -> Float[Tensor, "k P"]:
    """J: the gradients of the window's tasks, means over micro-batches and ranks.

    The window lets go of it, so that it lives no longer than the caller wants.
    """
    window = step.window
    matrix = window.matrix
    assert matrix is not None
    window.matrix = None
    window.rows.clear()
    # Absent tasks have no row. Tasks are in order: none is written over before it has moved.
    for place, task in enumerate(window.tasks):
        if place != task:
            matrix[place].copy_(matrix[task])
    jacobian = sum_in_place_over_ranks(matrix[: len(window.tasks)])
    return jacobian.div_(window.normalisers()[:, None])


def _put(into: Float[Tensor, " P"], row: Gradients, shared: Sequence[Tensor]) -> Gradients:
    """Add a row to one of the matrix; the latter, in the shapes of the parameters."""
    pieces = into.split([parameter.numel() for parameter in shared])
    parts = [piece.view_as(p) for piece, p in zip(pieces, shared, strict=True)]
    torch._foreach_add_(parts, row)
    return parts
