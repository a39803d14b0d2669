"""The weighting IMTL, impartial learning by losses and gradients."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg import impartial_weights
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting
from lightning_mtl.weightings.bases.measurement import Measurement, Unpack
from lightning_mtl.weightings.memory.adam import Adam


class IMTL(GramianWeighting):
    r"""Impartial learning, both parts: losses scaled to one size, gradients to equal projections.

    Losses are scaled to e^{s_k} L_k - s_k with learned s; on the gradients e^{s_k} g_k of these,
    α with Σ α = 1 makes all projections of d = Σ α_k e^{s_k} g_k equal. The weights are α_k
    e^{s_k}; the Gramian of the scaled gradients follows from G, so that G is enough.

    Liu, Li, Kuang, Xue, Chen, Yang, Liao & Zhang, "Towards Impartial Multi-task Learning", ICLR
    2021, Algorithm 1.

    Scale: Σ α = 1, as in the paper. A `prior` cancels on the shared parameters, but for the length
    of the step.
    Heads: their own gradients, unweighted; the paper scales them by e^s, which an optimizer that
    normalises does not see.
    Deviations: s has its own Adam and no weight decay. Dependent gradients, and weights of negative
    sum, as in the gradient part alone.

    Args:
        lr: learning rate of s.
        measurement: where and how often gradients are measured, see `GramianWeighting`; s moves
            when weights are solved for.

    Example:
        >>> rule, unequal = IMTL(), torch.diag(torch.tensor([1.0, 4.0]))
        >>> rule.weights(torch.tensor([1.0, 4.0]), unequal)
        tensor([0.6667, 0.3333])
        >>> rule.weights(torch.tensor([1.0, 4.0]), unequal)  # the larger loss is scaled down
        tensor([0.6611, 0.3305])
    """

    most_on_device: ClassVar[int] = 8

    def __init__(
        self,
        lr: float = 0.025,
        **measurement: Unpack[Measurement],
    ) -> None:
        super().__init__(**measurement)
        self.lr = lr
        self._log_scale = self.memory.per_task("log_scale")
        self._adam = Adam(self.memory)
        self._regulariser = torch.zeros(())

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The weights α_k e^{s_k} by the s so far; takes a step on s."""
        losses = losses.double()
        log_scale = self._log_scale.read(losses)
        self._regulariser = -log_scale.sum()
        scale = torch.exp(log_scale)
        self._log_scale.write(log_scale - self._adam.step(scale * losses - 1, self.lr))
        factor = scale.to(gramian)
        scaled = gramian * torch.outer(factor, factor)
        return impartial_weights(scaled) * factor

    def logs(self) -> dict[str, Tensor]:
        """The regulariser of the last step, -Σ_k s_k: the objective without the losses."""
        return {"regulariser": self._regulariser}
