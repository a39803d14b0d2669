"""Adam on one number per task, with the moments in a `TaskState`."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mtl.weightings.memory.task_memory import TaskState


def adam(
    state: TaskState,
    gradient: Float[Tensor, " k"],
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    moving: Bool[Tensor, " k"] | None = None,
) -> Float[Tensor, " k"]:
    """The step of Adam (Kingma & Ba, ICLR 2015, Algorithm 1), to be subtracted.

    Not `torch.optim.Adam`, because the numbers of absent tasks must not move, and because the
    moments then lie in the weighting's own checkpoint. Each task counts its own steps.

    Args:
        state: holds the moments.
        gradient: of the tasks present.
        lr: learning rate.
        betas: decays of the two moments.
        eps: added to the root of the second moment.
        moving: the tasks that take this step; by default all that are present.
    """
    beta1, beta2 = betas
    names = ("adam_steps", "adam_mean", "adam_square")
    before = [state.read(name, gradient) for name in names]
    steps = before[0] + 1
    mean = beta1 * before[1] + (1 - beta1) * gradient
    square = beta2 * before[2] + (1 - beta2) * gradient.square()
    for name, old, new in zip(names, before, (steps, mean, square), strict=True):
        state.write(name, new if moving is None else torch.where(moving, new, old))
    corrected = (square / (1 - beta2**steps)).sqrt()
    step = lr * mean / (1 - beta1**steps) / (corrected + eps)
    return step if moving is None else torch.where(moving, step, 0.0)
