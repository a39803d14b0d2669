"""Writing gradients to `.grad` of the parameters that a step has used."""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from lightning_mtl.engine.gradients import Gradients, merge, scaled_by, write
from lightning_mtl.engine.shared_parameters import Partition


def write_used(
    partition: Partition,
    heads: Mapping[int, Gradients],
    scales: Sequence[Tensor],
    used: Collection[Tensor],
    trunk: Gradients | None = None,
) -> None:
    """Add to `.grad` of the used parameters; the others are left without a gradient.

    A parameter of several heads gets the sum.

    Args:
        partition: that knows whose they are.
        heads: gradients of the task-specific parameters, by the index of their task.
        scales: what the gradients of each of these tasks are multiplied by.
        used: the parameters that this step has used; the gradients of others are zeros.
        trunk: gradients of the shared parameters, to be written as well.
    """
    parts: list[tuple[Sequence[Tensor], Gradients]] = [
        (partition.task_specific[task], scaled_by(gradients, scale))
        for (task, gradients), scale in zip(heads.items(), scales, strict=True)
        if gradients
    ]
    if trunk is not None:
        parts.insert(0, (partition.shared, trunk))
    parameters, gradients = merge(parts)
    pairs = [(p, g) for p, g in zip(parameters, gradients, strict=True) if p in used]
    write([parameter for parameter, _ in pairs], [gradient for _, gradient in pairs])


def write_zeros(parameters: Sequence[Tensor]) -> None:
    """Add zeros to `.grad`, for DDP, which waits for a gradient of every parameter."""
    write(parameters, [torch.zeros_like(parameter) for parameter in parameters])
