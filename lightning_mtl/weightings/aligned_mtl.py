"""The weighting Aligned-MTL, by independent component alignment."""

from typing import ClassVar, Literal, get_args

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.checks import check_choice
from lightning_mtl.linalg import equal_singular_values
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
        >>> import torch
        >>> AlignedMTL().weights(torch.ones(2), torch.diag(torch.tensor([1.0, 4.0])))
        tensor([0.5000, 0.2500])
    """

    most_on_device: ClassVar[int] = 8

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
        return equal_singular_values(gramian, self.scale)
