"""The weighting STCH, smooth Tchebycheff scalarisation."""

from typing import ClassVar

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.loss_weighting import LossWeighting
from lightning_mtl.weightings.memory.running_mean import RunningMean


class STCH(LossWeighting):
    r"""Smooth Tchebycheff scalarisation: minimises a soft maximum of the losses over their nadirs.

    The objective is K μ log Σ_k exp(log(L_k / n_k) / μ), with n the nadir: the mean losses of
    the last epoch of a warm-up, in which the objective is Σ_k log L_k. Small μ approaches the
    worst task. Weights: 1 / L_k in the warm-up, then K p_k / L_k with p = softmax(log(L / n) /
    μ).

    Lin, Zhang, Yang, Liu, Wang & Zhang, "Smooth Tchebycheff Scalarization for Multi-Objective
    Optimization", ICML 2024; logarithms, nadir and warm-up are those of its authors' code.

    Scale: Σ w_k L_k = K, as in the authors' code and LibMTL. TorchJD scalarises the raw losses. A
    `prior` cancels on the shared parameters.
    Heads: weighted, as the network minimises the objective.
    Memory: under gradient accumulation, K P numbers for the task gradients, which then take one
    trunk pass each.
    Deviations: the warm-up's last epoch, of which the nadir is the mean, is its `warmup_epochs`-th;
    in the authors' code and LibMTL it is one more. A task without a nadir (absent then) has n = 1.
    Losses have to be positive; a loss of zero, of a batch without a valid label, counts as absent
    and has weight 0. Those below 1e-38 in float32 count as that much, and weights end at the
    largest number of their dtype.

    Args:
        mu: μ > 0, the smoothing.
        warmup_epochs: epochs of the warm-up; 0 for n = 1 from the start.
        common: what every weighting takes, see `Weighting`.

    Example:
        >>> losses = torch.tensor([1.0, 4.0])
        >>> STCH(warmup_epochs=5).weights(losses)
        tensor([1.0000, 0.2500])
        >>> STCH(mu=0.5, warmup_epochs=0).weights(losses)
        tensor([0.1176, 0.4706])
    """

    depends_on_losses: ClassVar[bool] = True
    positive_losses: ClassVar[bool] = True

    def __init__(self, mu: float = 1.0, warmup_epochs: int = 5, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        if mu <= 0 or warmup_epochs < 0:
            raise ValueError(
                "`STCH` should have a positive mu, and warmup_epochs of at least 0. Found"
                f" mu={mu} and warmup_epochs={warmup_epochs}. Use warmup_epochs=0 for a nadir of 1."
            )
        self.mu = mu
        self.warmup_epochs = warmup_epochs
        nadir, count = self.memory.per_task("nadir"), self.memory.per_task("nadir_count")
        self._nadir = RunningMean(nadir, count)
        self._epochs = self.memory.single("epoch")

    def warm_up(self, steps_per_epoch: float) -> float:
        """The steps with weights 1 / L, of whose last epoch the nadir is the mean."""
        return self.warmup_epochs * steps_per_epoch

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The weights: 1 / L in the warm-up, then K p / L; 0 for a loss of zero."""
        positive = losses > 0
        clamped = losses.clamp(min=torch.finfo(losses.dtype).tiny)
        if self._epoch() < self.warmup_epochs:
            return torch.where(positive, 1 / clamped, 0.0)
        count = self._nadir.count.read(losses)
        mean = self._nadir.mean.read(losses)
        nadir = torch.where(count > 0, mean, torch.ones_like(mean))
        excess = (clamped.log() - nadir.log()) / self.mu
        # Not a number where all losses are zero, and replaced there.
        share = torch.softmax(torch.where(positive, excess, -torch.inf), 0)
        weights = (positive.sum() * share / clamped).clamp(max=torch.finfo(losses.dtype).max)
        return torch.where(positive, weights, 0.0)

    def update(self, losses: Float[Tensor, " K"]) -> None:
        """Add the losses to the nadir, in the last epoch of the warm-up. Called once per step."""
        if self._epoch() == self.warmup_epochs - 1:
            self._nadir.add(losses)

    def end_epoch(self) -> None:
        """Count one more epoch of the training."""
        self._epochs.count()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count the epoch. Called by the Trainer at the end of each training epoch."""
        self.end_epoch()

    def _epoch(self) -> int:
        # On the host: reading it waits for no device.
        return 0 if self._epochs.values is None else int(self._epochs.values)
