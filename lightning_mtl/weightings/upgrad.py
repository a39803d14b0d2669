"""The weighting UPGrad, by projection of each task gradient."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg import dual_cone
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting


class UPGrad(GramianWeighting):
    r"""Unconflicting projection: gradients are projected onto the cone of no conflict and averaged.

    d = 1/K Σ_i π(g_i), with π the projection onto the dual cone {d: J d >= 0}. In weights,
    π(g_i) = v_iᵀJ with v_i the minimiser of vᵀ G v over v >= e_i. Solved exactly, all K together.
    No task's gradient is opposed, and a task's influence is proportional to its gradient's norm.

    Quinton & Rey, "Jacobian Descent for Multi-Objective Optimization", 2024, section 3 and
    Proposition 1.

    Scale: the mean, as in the paper and in TorchJD: w = 1/K without conflicts.
    Heads: their own gradients, unweighted.
    Deviations: none. TorchJD adds 1e-4 of the trace to the diagonal of G, and returns the plain
    mean where its trace is below 1e-4.

    Args: see `GramianWeighting`.

    Example:
        >>> conflict = torch.tensor([[1.0, -1.0], [-1.0, 2.0]])
        >>> UPGrad().weights(torch.ones(2), conflict)
        tensor([1.0000, 0.7500])
    """

    most_on_device: ClassVar[int] = 8

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The weights of the averaged projections, the mean of the v_i."""
        identity = torch.eye(len(gramian), dtype=gramian.dtype, device=gramian.device)
        return dual_cone(gramian, identity).mean(0)
