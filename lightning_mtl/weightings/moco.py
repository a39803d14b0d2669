"""The weighting MoCo, multi-objective gradient correction."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.gradients import gramian, weighted_sum
from lightning_mtl.linalg import project_to_simplex
from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.jacobian_weighting import JacobianWeighting


class MoCo(JacobianWeighting):
    r"""Multi-objective gradient correction: min-norm weights, by moving averages of the gradients.

    The averages have less noise than gradients, so that the bias of λ vanishes:
    y_k ← y_k - β_t (y_k - g_k), λ ← Π(λ - γ_t (Y Yᵀ + ρ I) λ), d = λᵀY, with Π the projection
    onto the simplex, β_t = β / t^σ and γ_t = γ / t^σ'.

    Fernando, Shen, Liu, Chaudhury, Murugesan & Chen, "Mitigating Gradient Bias in Multi-objective
    Learning: A Provably Convergent Approach", ICLR 2023, Algorithm 1.

    Scale: Σ λ = 1, as in the paper. γ has the unit of 1 / ||g||².
    Heads: their own gradients, unweighted.
    Memory: K P numbers of averaged gradients beside the K P of J. Checkpoints hold them too. They
    begin anew when other parameters are shared than before; λ stays.
    Deviations: averages start at the first gradient, not at zero, and are not projected onto a
    ball. LibMTL normalises each gradient to the size of its loss, and replaces Π by a softmax.

    Args:
        beta: β of the averages.
        beta_sigma: σ, their decay.
        gamma: γ of the weights.
        gamma_sigma: σ', their decay.
        rho: ρ, the pull to equal weights.
        common: what every weighting takes, see `Weighting`.

    Example:
        >>> rule = MoCo()
        >>> rule.combine(torch.ones(2), torch.diag(torch.tensor([1.0, 2.0])))
        tensor([0.5750, 0.8500])
        >>> rule.combine(torch.ones(2), torch.diag(torch.tensor([-1.0, 2.0])))
        tensor([0.1855, 0.7333])
    """

    price: ClassVar[str] = "F + H + K B, and K P numbers of averaged gradients"

    def __init__(
        self,
        beta: float = 0.5,
        beta_sigma: float = 0.5,
        gamma: float = 0.1,
        gamma_sigma: float = 0.5,
        rho: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        if not 0 < beta <= 1 or gamma <= 0 or min(beta_sigma, gamma_sigma, rho) < 0:
            raise ValueError(
                "`MoCo` should have beta in (0, 1], gamma > 0, and decays and rho of at least 0."
                f" Found beta={beta}, beta_sigma={beta_sigma}, gamma={gamma},"
                f" gamma_sigma={gamma_sigma}, rho={rho}. Use beta=1 with beta_sigma=0 to average"
                " nothing."
            )
        self.beta = beta
        self.beta_sigma = beta_sigma
        self.gamma = gamma
        self.gamma_sigma = gamma_sigma
        self.rho = rho
        self._average = self.memory.per_parameter("average")
        self._steps = self.memory.per_task("steps", measured=True)
        self._simplex = self.memory.per_task("simplex", initial=1.0)

    def combine(
        self, losses: Float[Tensor, " K"], jacobian: Float[Tensor, "K P"]
    ) -> Float[Tensor, " P"]:
        """The combination λᵀY of the averaged gradients, after this step's update of λ and Y."""
        steps = self._steps.read(losses) + 1
        self._steps.write(steps)
        average = self._average.rows(len(jacobian), jacobian.shape[1], jacobian)
        rate = torch.where(steps == 1, 1.0, self.beta / steps**self.beta_sigma).to(jacobian)
        for row, gradient, share in zip(average, jacobian, rate, strict=True):
            row.lerp_(gradient, share)
        products = gramian([[row] for row in average]).double()
        weights = project_to_simplex(self._simplex.read(products.diagonal()).double())
        gradient = products @ weights + self.rho * weights
        stride = self.gamma / steps.max().double() ** self.gamma_sigma
        moved = project_to_simplex(weights - stride * gradient)
        self._simplex.write(moved)
        return weighted_sum(moved, average)
