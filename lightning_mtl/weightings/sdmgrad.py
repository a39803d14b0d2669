"""The weighting SDMGrad, stochastic direction-oriented descent."""

from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mtl.linalg import project_to_simplex
from lightning_mtl.weightings.bases.cross_gramian_weighting import CrossGramianWeighting
from lightning_mtl.weightings.bases.measurement import Measurement, Unpack

BARRED = 1e100
"""A gradient that keeps a removed task out of the simplex."""


class SDMGrad(CrossGramianWeighting):
    r"""Stochastic direction-oriented gradients: a common descent direction near a preferred one.

    w minimises ½ ||(w + λ w̃)ᵀ E[J]||² over the simplex by stochastic gradient steps, where
    w̃ = 1/K are the preferred weights; the network descends (w + λ w̃)ᵀ J / (1 + λ). If J_1 and J_2
    come from independent samples, J_1 J_2ᵀ (w + λ w̃) is an unbiased estimate of the gradient in w.
    Each optimizer step starts from the last w.

    Xiao, Ban & Ji, "Direction-oriented Multi-objective Learning: Simple and Provable Stochastic
    Algorithms", NeurIPS 2023, Algorithm 1.

    Scale: the weights (w + λ w̃) / (1 + λ) sum to 1, as in the paper.
    Heads: their own gradients, unweighted.
    Deviations: as in the authors' code, all `steps` use one matrix J_1 J_2ᵀ, divided by the square
    of the mean norm, and momentum. The divisor has a relative floor instead of a constant. J_1 and
    J_2 are those of the step's sub-batches, the micro-batches of an accumulation window and the
    shares of the ranks, without extra draws: the matrix is the mean of J_r J_sᵀ over r ≠ s. With a
    single sub-batch it is the Gramian, whose noise biases w. A task without a gradient counts as
    removed; the shortest vector of the paper's hull would be zero, and stop the others. Without any
    gradient, w = 1/K.

    Args:
        lambda_: λ, the pull to the preferred direction; 0.3 in the authors' experiments.
        lr: step size for w; 10 in the authors' code. The steps oscillate if it is above
            2 (1 + momentum) / (the largest eigenvalue of the scaled matrix), which 10 usually is:
            20 of them may amplify a rounding of the gradients 1e6 times. 1 usually converges.
        momentum: momentum of these steps.
        steps: how many steps of w there are in each optimizer step.
        measurement: where and how often gradients are measured, see `GramianWeighting`; not at the
            features, where samples share nothing.

    Example:
        >>> products = torch.diag(torch.tensor([1.0, 4.0]))
        >>> SDMGrad(lr=1.0).weights(torch.ones(2), products)
        tensor([0.7998, 0.2002])
    """

    most_on_device: ClassVar[int] = 8

    def __init__(
        self,
        lambda_: float = 0.3,
        lr: float = 10.0,
        momentum: float = 0.5,
        steps: int = 20,
        **measurement: Unpack[Measurement],
    ) -> None:
        super().__init__(**measurement)
        if lambda_ < 0 or lr <= 0 or not 0 <= momentum < 1 or steps < 1:
            raise ValueError(
                "`SDMGrad` should have lambda_ >= 0, lr > 0, momentum in [0, 1) and steps >= 1."
                f" Found lambda_={lambda_}, lr={lr}, momentum={momentum} and steps={steps}. Use"
                " lambda_=0 for no pull to the preferred direction."
            )
        self.lambda_ = lambda_
        self.lr = lr
        self.momentum = momentum
        self.steps = steps
        self._simplex = self.memory.per_task("simplex", initial=1.0)

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The weights (w + λ/K) / (1 + λ), after `steps` steps of w.

        Args:
            losses: of the tasks present.
            gramian: the mean of J_r J_sᵀ over different sub-batches r ≠ s; need not be a Gramian.
        """
        matrix = gramian.double()
        # A zero gradient has no products: the task counts as removed, and its w stays.
        kept = (matrix != 0).any(1)
        count = kept.to(matrix).sum()
        before = self._simplex.read(matrix.diagonal())
        preferred = kept * (self.lambda_ / count.clamp(min=1))
        w = self._descend(matrix, before, preferred, kept, count)
        self._simplex.write(torch.where(kept, w, before))
        weights = torch.where(kept, (w + preferred) / (1 + self.lambda_), 0.0)
        return torch.where(count > 0, weights, 1 / len(gramian)).to(gramian)

    def _descend(
        self,
        matrix: Float[Tensor, "K K"],
        w: Float[Tensor, " K"],
        preferred: Float[Tensor, " K"],
        kept: Bool[Tensor, " K"],
        count: Float[Tensor, ""],
    ) -> Float[Tensor, " K"]:
        """The w after `steps` steps, over the gradients that are not zero."""
        scale = (matrix.diagonal().clamp(min=0).sqrt().sum() / count).square()
        # Of different sub-batches the diagonal may be next to nothing beside the rest.
        scale = torch.maximum(scale, 1e-6 * matrix.abs().max())
        matrix = matrix / scale
        # As Σ w = 1, the pull to the preferred weights may be part of the matrix.
        matrix = matrix + (matrix @ preferred).unsqueeze(1)
        # Far below, the w of a removed task is zero, and moves no other.
        w = project_to_simplex(torch.where(kept, w, -BARRED))
        matrix = torch.where(kept.unsqueeze(1), matrix, BARRED)
        velocity, reciprocals = torch.zeros_like(w), 1 / torch.ones_like(w).cumsum(0)
        for _ in range(self.steps):
            velocity = torch.addmv(velocity, matrix, w, beta=self.momentum)
            w = project_to_simplex(torch.add(w, velocity, alpha=-self.lr), reciprocals)
        return w
