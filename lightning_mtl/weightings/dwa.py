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

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """From the last two epochs' means; a task without them counts as unchanged, r = 1."""
        nan = float("nan")
        ratio = self.state.read("last", losses, nan) / self.state.read("before_last", losses, nan)
        ratio = torch.where(torch.isfinite(ratio), ratio, torch.ones_like(ratio))
        return len(losses) * torch.softmax(ratio / self.temperature, 0)

    def update(self, losses: Float[Tensor, " K"]) -> None:
        """Add to this epoch's means."""
        self.state.write("sum", self.state.read("sum", losses) + losses)
        self.state.write("steps", self.state.read("steps", losses) + (losses > 0))

    def end_epoch(self) -> None:
        """Shift the history by one epoch; a task that did not occur keeps its own."""
        tensors = self.state.tensors
        if "sum" not in tensors:
            return
        seen = tensors["steps"] > 0
        mean = tensors["sum"] / tensors["steps"].clamp(min=1)
        nan = torch.full_like(mean, float("nan"))
        last, before_last = tensors.get("last", nan), tensors.get("before_last", nan)
        tensors["before_last"] = torch.where(seen, last, before_last)
        tensors["last"] = torch.where(seen, mean, last)
        tensors["sum"] = torch.zeros_like(mean)
        tensors["steps"] = torch.zeros_like(mean)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Shift the history."""
        self.end_epoch()
