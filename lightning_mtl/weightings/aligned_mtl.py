"""The weighting Aligned-MTL, by independent component alignment."""

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.checks import check_choice
from lightning_mtl.linalg import cosines_and_norms, dependence
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting
from lightning_mtl.weightings.bases.measurement import Measurement, Unpack

Scale = Literal["min", "median", "rmse"]


class AlignedMTL(GramianWeighting):
    r"""Aligned gradients: the Jacobian's singular values are made equal, then its rows averaged.

    With G = V Λ Vᵀ, w = √λ V Λ^{-1/2} Vᵀ 1/K over the eigenvalues that are not zero; λ is the
    smallest of them: the nearest linear system of gradients with condition number 1.

    Senushkin, Patakin, Kuznetsov & Konushin, "Independent Component Alignment for Multi-Task
    Learning", CVPR 2023, Algorithm 1.

    Scale: 1/K for orthogonal gradients of one norm, as in the paper and in TorchJD.
    Heads: their own gradients, unweighted.
    Deviations: the rank is that of the matrix of cosines, which the norms of the gradients cannot
    hide; its eigenvalues below 1e-10 are the rounding of gradients, and count as zero. Without any
    gradient, w = 1/K.

    Args:
        scale: λ: the smallest eigenvalue (`"min"`, the paper), the (lower) median, or the mean
            (`"rmse"`, the authors' code).
        measurement: where and how often gradients are measured, see `GramianWeighting`.

    Example:
        >>> AlignedMTL().weights(torch.ones(2), torch.diag(torch.tensor([1.0, 4.0])))
        tensor([0.5000, 0.2500])
    """

    def __init__(
        self,
        scale: Scale = "min",
        **measurement: Unpack[Measurement],
    ) -> None:
        super().__init__(**measurement)
        check_choice(type(self).__name__, "scale", scale, get_args(Scale))
        self.scale = scale

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The weights of the aligned gradients, √λ V Λ^{-1/2} Vᵀ 1/K."""
        cosines, norms = cosines_and_norms(gramian)
        mean = torch.full_like(norms, 1 / len(norms))
        values, vectors = torch.linalg.eigh(cosines)
        kept = values > dependence(gramian)
        if not bool(kept.any()):
            return mean.to(gramian)
        # G = A Aᵀ. The singular values of A keep the digits that the eigenvalues of G would lose
        # where norms are very unequal.
        root = norms[:, None] * vectors[:, kept] * values[kept].sqrt()
        directions, singular, _ = torch.linalg.svd(root, full_matrices=False)
        # Norms over more decades than the dtype has digits.
        directions, singular = directions[:, singular > 0], singular[singular > 0]
        squares = singular.square()
        level = {"min": squares[-1], "median": squares.median(), "rmse": squares.mean()}[self.scale]
        return (directions @ (level.sqrt() / singular * (mean @ directions))).to(gramian)
