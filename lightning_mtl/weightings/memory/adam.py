"""Adam on one number per task."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mtl.weightings.memory.task_memory import TaskMemory


class Adam:
    """Adam (Kingma & Ba, ICLR 2015, Algorithm 1) with its moments in a `TaskMemory`.

    Not `torch.optim.Adam`, because the numbers of absent tasks must not move, and because the
    moments then lie in the weighting's own checkpoint. Each task counts its own steps. The root of
    the second moment is kept: it has the range of a gradient, up to 1e38 in float32.

    Args:
        memory: of the weighting.
        betas: decays of the two moments.
        eps: added to the root of the second moment.
    """

    def __init__(
        self, memory: TaskMemory, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        self.betas = betas
        self.eps = eps
        self._steps = memory.per_task("adam_steps")
        self._mean = memory.per_task("adam_mean")
        self._root = memory.per_task("adam_root")

    def step(
        self, gradient: Float[Tensor, " k"], lr: float, moving: Bool[Tensor, " k"] | None = None
    ) -> Float[Tensor, " k"]:
        """The step to be subtracted; moves the moments.

        Args:
            gradient: of the tasks present.
            lr: learning rate.
            moving: the tasks that take this step; by default all that are present.
        """
        beta1, beta2 = self.betas
        entries = (self._steps, self._mean, self._root)
        before = [entry.read(gradient) for entry in entries]
        steps = before[0] + 1
        mean = beta1 * before[1] + (1 - beta1) * gradient
        root = torch.hypot(beta2**0.5 * before[2], (1 - beta2) ** 0.5 * gradient)
        for entry, old, new in zip(entries, before, (steps, mean, root), strict=True):
            entry.write(new if moving is None else torch.where(moving, new, old))
        corrected = root / (1 - beta2**steps).sqrt()
        step = lr * (mean / (1 - beta1**steps) / (corrected + self.eps))
        return step if moving is None else torch.where(moving, step, 0.0)
