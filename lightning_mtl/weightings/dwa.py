"""Dynamic weight averaging."""

from typing import ClassVar

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.weightings.bases.loss_weighting import LossWeighting


class DWA(LossWeighting):
    """Dynamic weight average: tasks whose loss falls slowly weigh more.

    w = K softmax(r / T) with r_k = L_k(t-1) / L_k(t-2), the ratio of the mean training losses of
    the last two epochs; w = 1 in the first two epochs.

    Liu, Johns & Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019, eq. 7. The
    means run over the optimizer steps of all ranks in which the task was present.

    Scale: Σ w = K, as in the paper, LibMTL and MTAN. nash-mtl divides by K, and compares windows of
    25 steps instead of epochs.
    Heads: weighted, as the network minimises the objective.
    Cost: F + H + B.
    Deviations: none. Losses have to be positive, as a ratio of others is no rate of training; one
    of zero, of a batch without a valid label, counts as absent.

    Args:
        temperature: T; large values even the weights out.
    """

    positive_losses: ClassVar[bool] = True

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"`DWA(temperature=)` should be positive. Found {temperature}.")
        self.temperature = temperature
        nan = float("nan")
        self._sum = self.memory.per_task("sum")
        self._steps = self.memory.per_task("steps")
        self._last = self.memory.per_task("last", initial=nan)
        self._before_last = self.memory.per_task("before_last", initial=nan)

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """From the last two epochs' means; a task without them counts as unchanged, r = 1."""
        ratio = self._last.read(losses) / self._before_last.read(losses)
        ratio = torch.where(torch.isfinite(ratio), ratio, torch.ones_like(ratio))
        return len(losses) * torch.softmax(ratio / self.temperature, 0)

    def update(self, losses: Float[Tensor, " K"]) -> None:
        """Add to this epoch's means."""
        self._sum.write(self._sum.read(losses) + losses)
        self._steps.write(self._steps.read(losses) + (losses > 0))

    def end_epoch(self) -> None:
        """Shift the history by one epoch; a task that did not occur keeps its own."""
        sums = self._sum.values
        if sums is None:
            return
        steps, last, before_last = (
            entry.read(sums) for entry in (self._steps, self._last, self._before_last)
        )
        occurred = steps > 0
        self._before_last.write(torch.where(occurred, last, before_last))
        self._last.write(torch.where(occurred, sums / steps.clamp(min=1), last))
        self._sum.write(torch.zeros_like(sums))
        self._steps.write(torch.zeros_like(sums))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Shift the history."""
        self.end_epoch()
