"""Adam on one number per task."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mtl.engine.transfers import to_device
from lightning_mtl.weightings.memory.task_memory import TaskMemory

Correction = Tensor | float
"""What an average is divided by, as it started at zero: of all tasks, or of each."""


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
        before, last = self._mean.read(gradient), self._root.read(gradient)
        mean = torch.lerp(before, gradient, 1 - beta1)
        root = torch.hypot(last * beta2**0.5, gradient * (1 - beta2) ** 0.5)
        if moving is None:
            of_mean, of_root = self._corrections(gradient)
            self._mean.write(mean)
            self._root.write(root)
            return mean / (root / of_root**0.5 + self.eps) * (lr / of_mean)
        # Which tasks move is known on the device only.
        counted = self._steps.read(gradient)
        steps = counted + moving
        self._steps.write(steps)
        self._mean.write(torch.where(moving, mean, before))
        self._root.write(torch.where(moving, root, last))
        corrected = root / (1 - beta2**steps).sqrt() + self.eps
        return torch.where(moving, mean / corrected * (lr / (1 - beta1**steps)), 0.0)

    def _corrections(self, gradient: Float[Tensor, " k"]) -> tuple[Correction, Correction]:
        """1 - β₁ᵗ and 1 - β₂ᵗ after one more step of every task.

        Steps are counted on the host, and their powers taken there: of tasks that have come equally
        often, which is the rule, no number goes to the device.
        """
        steps = self._steps.read(torch.zeros(len(gradient))) + 1
        self._steps.write(steps)
        counts = steps.tolist()
        first, second = ([1 - beta**count for count in counts] for beta in self.betas)
        if len(set(counts)) == 1:
            return first[0], second[0]
        both = torch.tensor([first, second], dtype=gradient.dtype)
        of_mean, of_root = to_device(both, gradient.device).unbind()
        return of_mean, of_root
