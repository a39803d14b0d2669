"""The weighting CAGrad, conflict-averse gradient descent."""

from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.checks import check_choice
from lightning_mtl.linalg import max_min_in_ball
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting
from lightning_mtl.weightings.bases.measurement import Measurement, Unpack

Rescale = Literal["none", "quadratic", "linear"]


class CAGrad(GramianWeighting):
    r"""Conflict-averse gradient: the update near the mean gradient that is best for the worst task.

    d maximises min_i g_i·d over ||d - g_0|| <= c ||g_0||, with g_0 the mean gradient. In its dual
    form, with g_w = wᵀJ and w the minimiser of g_w·g_0 + c ||g_0|| ||g_w|| over the simplex,
    d = g_0 + c ||g_0|| / ||g_w|| g_w. Solved exactly, by following the path of the best level.

    Liu, Liu, Jin, Stone & Liu, "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS
    2021, Algorithm 1.

    Scale: as in the paper's Algorithm 1: c = 0 gives the mean, w = 1/K. The authors' code and
    LibMTL divide by 1 + c² (`rescale="quadratic"`), TorchJD does not; nash-mtl then multiplies by
    K.
    Heads: their own gradients, unweighted.
    Deviations: where g_w = 0 (the tasks are Pareto-stationary and c is large enough), d is not
    defined by the paper; here it is then the nearest direction to g_0 that no task objects to.
    A zero gradient counts as a task removed.

    Args:
        c: in [0, 1) by the paper's theory; 0.4 in its NYUv2 runs.
        rescale: `"none"`, or divide by 1 + c² (`"quadratic"`) or 1 + c (`"linear"`).
        measurement: where and how often gradients are measured, see `GramianWeighting`.

    Example:
        >>> conflict = torch.tensor([[1.0, -1.0], [-1.0, 2.0]])
        >>> CAGrad(c=0.4).weights(torch.ones(2), conflict)
        tensor([0.7000, 0.5000])
    """

    most_on_device: ClassVar[int] = 8

    def __init__(
        self,
        c: float = 0.4,
        rescale: Rescale = "none",
        **measurement: Unpack[Measurement],
    ) -> None:
        super().__init__(**measurement)
        if c < 0:
            raise ValueError(
                f"`CAGrad(c=)` should not be negative. Found {c}. Use 0 for the mean gradient."
            )
        check_choice(type(self).__name__, "rescale", rescale, get_args(Rescale))
        self.c = c
        self.rescale = rescale

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The weights of d, 1/K + c ||g_0|| / ||g_w|| w, divided as `rescale` says."""
        kept = (gramian.diagonal() > 0).double()
        count = kept.sum()
        share = 1 / torch.where(count > 0, count, len(gramian))
        mean = kept * share
        radius = self.c * (mean @ (gramian.double() @ mean)).clamp(min=0).sqrt()
        divisor = {"none": 1.0, "quadratic": 1 + self.c**2, "linear": 1 + self.c}[self.rescale]
        weights = share + max_min_in_ball(gramian, mean, radius)
        return (weights / divisor).to(gramian)
