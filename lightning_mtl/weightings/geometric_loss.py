"""The geometric mean of the losses."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.weightings.bases.loss_weighting import LossWeighting


class GeometricLoss(LossWeighting):
    """The geometric mean of the losses as objective, (Π L_k)^{1/K}: no loss's scale matters.

    Its gradient is that of Σ w_k L_k with the weights w_k = (Π L)^{1/K} / (K L_k).

    Chennupati, Sistu, Yogamani & Rawashdeh, "MultiNet++: Multi-Stream Feature Aggregation and
    Geometric Loss Strategy for Multi-Task Learning", CVPR Workshops 2019, eq. 2.

    Scale: Σ w_k L_k is the geometric mean, as in the paper and as in LibMTL and TorchJD; w = 1/K
    for equal losses.
    Heads: weighted, as the network minimises the objective.
    Cost: F + H + B; under gradient accumulation F + H + B + (K - 1) B and K P numbers.
    Deviations: none. Losses have to be positive; a loss of zero, of a batch without a valid label,
    counts as absent and has weight 0.
    """

    depends_on_losses: ClassVar[bool] = True
    positive_losses: ClassVar[bool] = True

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """(Π L)^{1/K} / (K L), over the K losses that are not zero."""
        there = losses > 0
        count = there.sum().clamp(min=1)
        positive = losses.clamp(min=torch.finfo(losses.dtype).tiny)
        logarithms = torch.where(there, positive.log(), 0.0)
        weights = torch.exp(logarithms.sum() / count - logarithms) / count
        return torch.where(there, weights, 0.0)
