"""The weighting ConFIG, by conflict-free inverse gradients."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg import equal_cosines
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting


class ConFIG(GramianWeighting):
    r"""Conflict-free inverse gradients: the direction with equal cosines to all task gradients.

    With U = D⁻¹ J the unit gradients, D = diag(||g_i||), the direction is that of U⁺ 1, and the
    length the sum of the projections, Σ_i g_i·d/||d||. In weights, U⁺ 1 = (D⁻¹ C⁺ 1)ᵀ J with C =
    U Uᵀ the matrix of cosines: K x K is enough.

    Liu, Chu & Thuerey, "ConFIG: Towards Conflict-free Training of Physics Informed Neural
    Networks", ICLR 2025, eq. 2.

    Scale: as in the paper and in TorchJD: the length is about that of the sum of the gradients. A
    `prior` cancels on the shared parameters, but for the length of the step.
    Heads: their own gradients, unweighted.
    Deviations: eigenvalues of C below 1e-10 are the rounding of gradients, and count as zero. Where
    no direction exists (1 ⟂ the range of C, two opposed gradients), w = 0.

    Args: see `GramianWeighting`.

    Example:
        >>> ConFIG().weights(torch.ones(2), torch.diag(torch.tensor([1.0, 4.0])))
        tensor([1.5000, 0.7500])
    """

    most_on_device: ClassVar[int] = 8

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The weights of the conflict-free direction d, D⁻¹ C⁺ 1 times (Σ_i g_i·d) / ||d||²."""
        units, norms = equal_cosines(gramian)
        weights = units / norms
        # ||d||² = 1ᵀ C⁺ 1.
        square = units.sum()
        length = (gramian.double() @ weights).sum()
        return (weights * (length / torch.where(square > 0, square, 1.0))).to(gramian)
