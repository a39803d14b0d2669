"""The weighting IMTL-G, impartial learning by gradients."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg import impartial_weights
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting


class IMTLG(GramianWeighting):
    r"""Impartial learning, its gradient part: a direction with equal projections on all gradients.

    d = wᵀJ with d·g_i / ||g_i|| the same for every task, and Σ w = 1: w ∝ D⁻¹ C⁺ 1, where
    D = diag(||g_i||) and C = D⁻¹ G D⁻¹ holds the cosines. Multiplying a loss by a number leaves the
    direction as it is.

    Liu, Li, Kuang, Xue, Chen, Yang, Liao & Zhang, "Towards Impartial Multi-task Learning", ICLR
    2021, IMTL-G.

    Scale: Σ w = 1, as in the paper and in TorchJD. A `prior` cancels on the shared parameters, but
    for the length of the step.
    Heads: their own gradients, unweighted.
    Deviations: where gradients depend on each other (an eigenvalue of C is below 1e-10, the
    rounding of gradients), a least-squares solution; w = 0 where no direction exists. Where the
    weights would sum to a negative number (the paper's formula then ascends every loss), they sum
    to -1.

    Args: see `GramianWeighting`.

    Example:
        >>> import torch
        >>> IMTLG().weights(torch.ones(2), torch.diag(torch.tensor([1.0, 4.0])))
        tensor([0.6667, 0.3333])
    """

    most_on_device: ClassVar[int] = 8

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The weights of equal projections, D⁻¹ C⁺ 1 divided by its sum."""
        return impartial_weights(gramian)
