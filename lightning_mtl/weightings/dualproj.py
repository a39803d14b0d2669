"""The weighting DualProj, by projection onto the dual cone."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg import dual_cone
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting


class DualProj(GramianWeighting):
    r"""Dual projection: the mean gradient, projected onto the cone where no task's loss increases.

    d is the nearest point to g_0, the mean gradient, in the dual cone {d: J d >= 0}: d = vᵀJ with v
    the minimiser of vᵀ G v over v >= 1/K. Solved exactly.

    Lopez-Paz & Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017, eq. 11;
    named and compared in Quinton & Rey, "Jacobian Descent for Multi-Objective Optimization", 2024.

    Scale: the mean, as in TorchJD: w = 1/K without conflicts.
    Heads: their own gradients, unweighted.
    Deviations: none. TorchJD adds 1e-4 of the trace to the diagonal of G, and returns the plain
    mean where its trace is below 1e-4.

    Args: see `GramianWeighting`.

    Example:
        >>> conflict = torch.tensor([[1.0, -3.0], [-3.0, 10.0]])
        >>> DualProj().weights(torch.ones(2), conflict)
        tensor([1.5000, 0.5000])
    """

    most_on_device: ClassVar[int] = 8

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The weights v of the projected mean gradient."""
        mean = torch.full_like(gramian.diagonal(), 1 / len(gramian))
        return dual_cone(gramian, mean[None])[0]
