"""The weighting DWA, dynamic weight averaging."""

from typing import ClassVar

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.loss_weighting import LossWeighting
from lightning_mtl.weightings.memory.running_mean import RunningMean


class DWA(LossWeighting):
    """Dynamic weight average: tasks whose loss falls slowly weigh more.

    w = K softmax(r / T) with r_k = L_k(t-1) / L_k(t-2), the ratio of the mean training losses of
    the last two epochs; w = 1 in the first two epochs.

    Liu, Johns & Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019, eq. 7. The
    means run over the optimizer steps of all ranks in which the task was present.

    Scale: Σ w = K, as in the paper, LibMTL and MTAN. nash-mtl divides by K, and compares windows of
    25 steps instead of epochs.
    Heads: weighted, as the network minimises the objective.
    Deviations: none. Losses have to be positive, as a ratio of others is no rate of training; one
    of zero, of a batch without a valid label, counts as absent.

    Args:
        temperature: T; large values even the weights out.
        common: what every weighting takes, see `Weighting`.

    Example:
        >>> rule = DWA()
        >>> for mean_losses in ([1.0, 1.0], [0.5, 1.0]):  # two epochs; the second loss stays
        ...     rule.update(torch.tensor(mean_losses))
        ...     rule.end_epoch()
        >>> rule.weights(torch.ones(2))
        tensor([0.8756, 1.1244])
    """

    positive_losses: ClassVar[bool] = True

    def __init__(self, temperature: float = 2.0, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        if temperature <= 0:
            raise ValueError(
                f"`DWA(temperature=)` should be positive. Found {temperature}. Use a large one for"
                " nearly equal weights."
            )
        self.temperature = temperature
        nan = float("nan")
        self._epoch = RunningMean(self.memory.per_task("mean"), self.memory.per_task("steps"))
        self._last = self.memory.per_task("last", initial=nan)
        self._before_last = self.memory.per_task("before_last", initial=nan)

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The weights K softmax(r / T); r = 1 for a task without means of the last two epochs."""
        ratio = self._last.read(losses) / self._before_last.read(losses)
        # A ratio beyond the range of its dtype takes all the weight; NaN stands for no mean.
        ratio = ratio.nan_to_num(nan=1.0)
        return len(losses) * torch.softmax(ratio / self.temperature, 0)

    def update(self, losses: Float[Tensor, " K"]) -> None:
        """Add the losses of one optimizer step to the means of this epoch. Called once per step."""
        self._epoch.add(losses)

    def end_epoch(self) -> None:
        """Shift the means by one epoch; a task that did not occur in it keeps its old ones."""
        means = self._epoch.mean.values
        if means is None:
            return
        steps, last, before_last = (
            entry.read(means) for entry in (self._epoch.count, self._last, self._before_last)
        )
        occurred = steps > 0
        self._before_last.write(torch.where(occurred, last, before_last))
        self._last.write(torch.where(occurred, means, last))
        self._epoch.mean.write(torch.zeros_like(means))
        self._epoch.count.write(torch.zeros_like(means))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Shift the means by one epoch. Called by the Trainer at the end of each training epoch."""
        self.end_epoch()
