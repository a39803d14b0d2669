"""The weighting MoDo, multi-objective gradient with double sampling."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg import project_to_simplex
from lightning_mtl.weightings.bases.cross_gramian_weighting import CrossGramianWeighting
from lightning_mtl.weightings.bases.measurement import Measurement, Unpack


class MoDo(CrossGramianWeighting):
    r"""Multi-objective gradient with double sampling: one unbiased step of the weights per update.

    λ ← Π(λ - γ (J_1 J_2ᵀ λ + ρ λ)), with Π the projection onto the simplex and J_1, J_2 of
    independent samples; the network descends λᵀJ.

    Chen, Fernando, Ying & Chen, "Three-Way Trade-Off in Multi-Objective Learning: Optimization,
    Generalization and Conflict-Avoidance", NeurIPS 2023, Algorithm 1; JMLR 2024, eq. 2.9.

    Scale: Σ λ = 1, as in the paper. γ has the unit of 1 / ||g||²: with the gradients' scale the
    weights move slower or faster.
    Heads: their own gradients, unweighted; LibMTL divides those of three batches by 3.
    Deviations: J_1 and J_2 are those of the step's sub-batches, the micro-batches of an
    accumulation window and the shares of the ranks, without extra draws: the matrix is the mean of
    J_r J_sᵀ over r ≠ s. With a single sub-batch it is the Gramian, whose noise biases λ.

    Args:
        gamma: γ, the step size of the weights; 0.001 in LibMTL.
        rho: ρ, the pull to equal weights; 0.1 in LibMTL.
        measurement: where and how often gradients are measured, see `GramianWeighting`; not at the
            features, where samples share nothing.

    Example:
        >>> import torch
        >>> products = torch.diag(torch.tensor([1.0, 4.0]))
        >>> MoDo(gamma=0.1, rho=0.0).weights(torch.ones(2), products)
        tensor([0.5750, 0.4250])
    """

    most_on_device: ClassVar[int] = 8

    def __init__(
        self,
        gamma: float = 1e-3,
        rho: float = 0.1,
        **measurement: Unpack[Measurement],
    ) -> None:
        super().__init__(**measurement)
        if gamma <= 0 or rho < 0:
            raise ValueError(
                "`MoDo` should have a positive step size gamma and rho >= 0. Found"
                f" gamma={gamma} and rho={rho}. Use rho=0 for no pull to equal weights."
            )
        self.gamma = gamma
        self.rho = rho
        self._simplex = self.memory.per_task("simplex", initial=1.0)

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The weights λ, after one step on the simplex.

        Args:
            losses: of the tasks present.
            gramian: the mean of J_r J_sᵀ over different sub-batches r ≠ s; need not be a Gramian.
        """
        matrix = gramian.double()
        weights = project_to_simplex(self._simplex.read(matrix.diagonal()))
        gradient = matrix @ weights + self.rho * weights
        weights = project_to_simplex(weights - self.gamma * gradient)
        self._simplex.write(weights)
        return weights.to(gramian)
