"""Equal weighting, which minimises the sum of the losses."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.weightings.bases.loss_weighting import LossWeighting


class EqualWeighting(LossWeighting):
    """Equal weighting: w = 1 for every task, the sum of the losses, as without a weighting.

    The baseline to beat: with ordinary regularisation and well-chosen fixed weights it matches
    specialised methods in Kurin et al. (NeurIPS 2022) and Xin et al. (NeurIPS 2022).

    Scale: Σ w = K; some code bases minimise the mean of the losses, 1/K of it.
    Heads: weighted, by 1.
    Deviations: none.

    Example:
        >>> EqualWeighting().weights(torch.tensor([1.0, 4.0]))
        tensor([1., 1.])
    """

    reweights: ClassVar[bool] = False
    has_objective: ClassVar[bool] = True

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """A weight of 1 for each task present."""
        return torch.ones_like(losses)
