"""One vector of the size of the shared parameters for each task, kept in a `TaskState`."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mtl.state import TaskState


def read_rows(
    state: TaskState, name: str, like: Float[Tensor, "k P"]
) -> tuple[Float[Tensor, "k P"], Bool[Tensor, " k"]]:
    """The rows `name` of the present tasks, and which of them have never been written."""
    if name not in state.tensors:
        count = len(like) if state.present is None else len(state.tasks)
        state.tensors[name] = like.new_zeros(count, like.shape[1])
    unwritten = state.read(f"{name}_written", like[:, 0]) == 0
    return state.read(name, like[:, 0]), unwritten


def write_rows(state: TaskState, name: str, rows: Float[Tensor, "k P"]) -> None:
    """Replace the rows of the present tasks."""
    state.write(name, rows)
    state.write(f"{name}_written", torch.ones_like(rows[:, 0]))
