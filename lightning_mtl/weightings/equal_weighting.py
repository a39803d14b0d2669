"""Equal weighting."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.weightings.bases.loss_weighting import LossWeighting


class EqualWeighting(LossWeighting):
    """w = 1 for every task: the sum of the losses, as without a weighting.

    The baseline to beat: with ordinary regularisation and well-chosen fixed weights it matches
    specialised methods in Kurin et al. (NeurIPS 2022) and Xin et al. (NeurIPS 2022).

    Scale: Σ w = K; some code bases minimise the mean of the losses, 1/K of it.
    Heads: weighted, by 1.
    Cost: F + H + B.
    Deviations: none.
    """

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """Ones."""
        return torch.ones_like(losses)
