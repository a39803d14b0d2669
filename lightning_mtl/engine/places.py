"""Where and how the task gradients of a micro-batch are measured, if not as full rows.

What is found goes to the window of the step, as `Step.collect` has it for full rows.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.gradients import Gradients, add, gramian
from lightning_mtl.engine.micro_batch import Step
from lightning_mtl.engine.task_backward import TaskBackward


def measure(step: Step, backward: TaskBackward, inputs: Sequence[Tensor]) -> list[Gradients]:
    """Add this micro-batch's task gradients at some parameters of the trunk to the window.

    Returns:
        The rows of this micro-batch.
    """
    rows = backward.rows(inputs, keep_graph=True)
    for task, row in zip(step.local, rows, strict=True):
        step.window.measured[task] = add(step.window.measured.get(task), row)
    return rows


def measure_features(step: Step, backward: TaskBackward) -> None:
    """Add the Gramian of this micro-batch at the shared features to the window.

    Samples have features of their own, so Gramians of parts of a batch add up.
    """
    given = step.features()
    rows = backward.feature_rows() if given is None else backward.rows_at(given)
    full = _spread(step, gramian(rows))
    step.window.gramian = full if step.window.gramian is None else step.window.gramian + full


def measure_feature_sums(step: Step, backward: TaskBackward) -> None:
    """Add each task's gradient with respect to a bias on every channel of the features.

    That is the features' gradient, summed over samples and places; unlike the features
    themselves, these channels mean the same in every batch.
    """
    given = step.features()
    rows = backward.feature_rows() if given is None else backward.rows_at(given)
    for task, row in zip(step.local, rows, strict=True):
        sums = [_channel_sums(gradient) for gradient in row]
        step.window.measured[task] = add(step.window.measured.get(task), sums)


def add_part(step: Step, rows: Sequence[Gradients]) -> None:
    """Add the Gramian of one micro-batch on one rank, an independent part of the window.

    Args:
        step: of this micro-batch.
        rows: of this rank's tasks.
    """
    products = _spread(step, gramian(rows))
    both = torch.stack(
        [products, _spread(step, torch.ones_like(products[: len(rows), : len(rows)]))]
    )
    step.window.parts = both if step.window.parts is None else step.window.parts + both


def _spread(step: Step, block: Float[Tensor, "l l"]) -> Float[Tensor, "K K"]:
    """A matrix of this rank's tasks as one of all tasks, zero elsewhere."""
    full = block.new_zeros(len(step.partition.tasks), len(step.partition.tasks))
    for row, task in enumerate(step.local):
        for column, other in enumerate(step.local):
            full[task, other] = block[row, column]
    return full


def _channel_sums(gradient: Tensor) -> Tensor:
    others = [axis for axis in range(gradient.ndim) if axis != 1]
    return gradient.float().sum(others) if others else gradient.float()
