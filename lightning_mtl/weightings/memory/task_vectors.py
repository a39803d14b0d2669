"""One vector of the size of the shared parameters for each task, kept in a `TaskState`."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mtl.distributed import BUCKET
from lightning_mtl.engine.gradients import CACHE
from lightning_mtl.weightings.memory.task_memory import TaskState


def kept_rows(
    state: TaskState, name: str, like: Float[Tensor, "k P"]
) -> tuple[list[Float[Tensor, " P"]], Bool[Tensor, " k"]]:
    """The rows `name` of the present tasks, to be changed in place, and which of them are new.

    New rows are zero. A copy of them would be as large as the trunk, for every task.
    """
    present = range(len(like)) if state.present is None else state.present
    count = len(like) if state.present is None else len(state.tasks)
    if name not in state.tensors:
        state.tensors[name] = like.new_zeros(count, like.shape[1])
    rows = state.tensors[name] = state.tensors[name].to(like)
    new = state.read(f"{name}_written", like[:, 0]) == 0
    state.write(f"{name}_written", torch.ones_like(like[:, 0]))
    return [rows[task] for task in present], new


def columns(*tensors: Float[Tensor, "*k P"]) -> Iterator[tuple[Float[Tensor, "*k p"], ...]]:
    """The same columns of several matrices or vectors, some at a time, as views.

    What is computed of them at once takes little memory: cache-sized on the host, on a device
    enough to keep it busy.
    """
    limit = CACHE if tensors[0].device.type == "cpu" else BUCKET
    most = max(tensor[..., :1].numel() for tensor in tensors)
    size = max(1, limit // max(1, most))
    return zip(*(tensor.split(size, -1) for tensor in tensors), strict=True)
