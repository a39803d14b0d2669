"""A step that trains some tasks, and measures the gradients of all."""

from collections.abc import Collection

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.gradients import gramian
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.transfers import to_device


def differentiate_for_all(
    micro_batch: MicroBatch, loss: Tensor, group: Collection[int]
) -> Float[Tensor, "k k"] | None:
    """Write the gradients of a group of tasks, and return the Gramian of all that are present.

    The Gramian is that of all ranks, in float64 on the host, which waits for the device once. What
    no task of the group has a use for is left without a gradient, as if the group had been
    differentiated alone.

    Args:
        micro_batch: of all tasks; a step by itself.
        loss: their total as Lightning has scaled it.
        group: indices of the tasks that are trained.

    Returns:
        `None` if nothing is known to be shared yet; the gradients of all tasks are written then.
    """
    used = micro_batch.used_by(group)
    backward = micro_batch.differentiate_shared(loss)
    if backward is None:
        return None
    micro_batch.collect(backward)
    window = micro_batch.window
    products = gramian(window.reduced_rows())
    statistics = window.statistics(products, products.new_empty(0), stay=False)
    wide = micro_batch.wide
    weights = torch.tensor([float(task in group) for task in window.present], dtype=wide.dtype)
    micro_batch.write_window(to_device(weights, wide.device))
    for parameter in micro_batch.partition.parameters:
        if parameter not in used:
            parameter.grad = None
    return statistics.gramian
