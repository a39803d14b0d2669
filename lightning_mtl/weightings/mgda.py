"""The weighting MGDA, the multiple-gradient descent algorithm."""

from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.checks import check_choice
from lightning_mtl.linalg import nonzero_min_norm
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting
from lightning_mtl.weightings.bases.measurement import Measurement, Unpack

Normalisation = Literal["none", "l2", "loss", "loss+"]


class MGDA(GramianWeighting):
    r"""Multiple gradient descent: the shortest vector in the convex hull of the task gradients.

    w = argmin wᵀ G w over the simplex: a common descent direction, or zero at a Pareto-stationary
    point. Solved exactly (KKT), not by Frank-Wolfe.

    Désidéri, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", Comptes
    Rendus Mathematique 2012; Sener & Koltun, "Multi-Task Learning as Multi-Objective Optimization",
    NeurIPS 2018, eq. 3. `gradients="features"` is its MGDA-UB.

    Scale: Σ w = 1, as in the paper: the trunk's step is about 1/K of that of equal weighting.
    TorchJD has the same; nash-mtl multiplies w by K.
    Heads: their own gradients, unweighted, as in the paper.
    Deviations: a task without a gradient counts as removed; the shortest vector of the paper's hull
    would be zero, and stop the others.

    Args:
        normalize: divide each task gradient before solving by its norm ("l2"), by its loss ("loss")
            or by both ("loss+"). It affects the weights only: they are applied to the gradients as
            they are.
        measurement: where and how often gradients are measured, see `GramianWeighting`.

    Example:
        >>> MGDA().weights(torch.ones(2), torch.diag(torch.tensor([1.0, 4.0])))
        tensor([0.8000, 0.2000])
    """

    most_on_device: ClassVar[int] = 8

    def __init__(
        self,
        normalize: Normalisation = "none",
        **measurement: Unpack[Measurement],
    ) -> None:
        super().__init__(**measurement)
        check_choice(type(self).__name__, "normalize", normalize, get_args(Normalisation))
        self.normalize = normalize

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The minimiser of wᵀ G w over the simplex; 0 for a task without a gradient."""
        if self.normalize == "none":
            return nonzero_min_norm(gramian)
        norms, losses = gramian.diagonal().double().sqrt(), losses.to(gramian.device).double()
        scale = {"l2": norms, "loss": losses, "loss+": losses * norms}[self.normalize]
        # A loss of zero, or less, leaves its gradient as it is.
        scale = torch.where(scale > 0, scale, 1.0)
        return nonzero_min_norm(gramian, scale)
