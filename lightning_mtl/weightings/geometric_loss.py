"""The weighting that minimises the geometric mean of the losses."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.weightings.bases.loss_weighting import LossWeighting


class GeometricLoss(LossWeighting):
    """Geometric loss: the mean (Π L_k)^{1/K} as objective, so that no loss's scale matters.

    Its gradient is that of Σ w_k L_k with the weights w_k = (Π L)^{1/K} / (K L_k).

    Chennupati, Sistu, Yogamani & Rawashdeh, "MultiNet++: Multi-Stream Feature Aggregation and
    Geometric Loss Strategy for Multi-Task Learning", CVPR Workshops 2019, eq. 2.

    Scale: Σ w_k L_k is the geometric mean, as in the paper and as in LibMTL and TorchJD; w = 1/K
    for equal losses. A `prior` cancels on the shared parameters.
    Heads: weighted, as the network minimises the objective.
    Memory: under gradient accumulation, K P numbers for the task gradients, which then take one
    trunk pass each.
    Deviations: none. Losses have to be positive; a loss of zero, of a batch without a valid label,
    counts as absent and has weight 0. Those below 1e-38 in float32 count as that much, and weights
    end at the largest number of their dtype.

    Example:
        >>> GeometricLoss().weights(torch.tensor([1.0, 4.0]))
        tensor([1.0000, 0.2500])
    """

    depends_on_losses: ClassVar[bool] = True
    positive_losses: ClassVar[bool] = True
    has_objective: ClassVar[bool] = True

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The weights (Π L)^{1/K} / (K L) over the K positive losses; 0 for a loss of zero."""
        positive = losses > 0
        count = positive.sum().clamp(min=1)
        clamped = losses.clamp(min=torch.finfo(losses.dtype).tiny)
        logarithms = torch.where(positive, clamped.log(), 0.0)
        weights = torch.exp(logarithms.sum() / count - logarithms - count.log())
        return torch.where(positive, weights.clamp(max=torch.finfo(losses.dtype).max), 0.0)
