"""The geometric mean of the losses."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.callbacks.weighting import LossWeighting


class GeometricLoss(LossWeighting):
    """The geometric mean of the losses as objective, (Π L_k)^{1/K}: no loss's scale matters.

    Its gradient is that of Σ w_k L_k with the weights w_k = (Π L)^{1/K} / (K L_k).

    Chennupati, Sistu, Yogamani & Rawashdeh, "MultiNet++: Multi-Stream Feature Aggregation and
    Geometric Loss Strategy for Multi-Task Learning", CVPR Workshops 2019, eq. 2.

    Scale: Σ w_k L_k is the geometric mean, as in the paper; w = 1/K for equal losses.
    Heads: weighted. Deviations: none. Losses should be positive: a loss of zero counts as 1e-30.
    """

    depends_on_losses: ClassVar[bool] = True

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """(Π L)^{1/K} / (K L)."""
        logarithms = losses.clamp(min=1e-30).log()
        return torch.exp(logarithms.mean() - logarithms) / len(losses)
