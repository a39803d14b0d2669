"""The weighting ExcessMTL, by estimated excess risks."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.gradients import weighted_sum
from lightning_mtl.engine.jacobian import columns
from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.jacobian_weighting import JacobianWeighting


class ExcessMTL(JacobianWeighting):
    r"""Excess-risk weighting: a task weighs more the farther its loss is above its own minimum.

    Label noise raises the loss and its minimum alike, so it does not add weight. The excess risk is
    estimated to second order with a diagonal Hessian as AdaGrad's, E_k = g_kᵀ H_k⁻¹ g_k with
    H_k = √(Σ_t g_k²), relative to its mean over a warm-up; the weights move by an exponentiated
    gradient step, α_k ∝ α_k exp(η E_k / E_k(0)).

    He, Zhou, Zhang, Yun, Xu, Zeng, Chilimbi & Zhao, "Robust Multi-Task Learning with Excess Risks",
    ICML 2024, eq. 6, 7 and 9.

    Scale: Σ α = 1, as in the paper; LibMTL and the authors' code have K.
    Heads: their own gradients, unweighted; the authors' code weights them.
    Memory: the K P numbers of H beside the K P of J. Checkpoints hold them too. They, E_k(0) and
    the warm-up begin anew when other parameters are shared than before; α stays.
    Deviations: the constant in H is relative to its largest entry. H itself is kept, not its
    square, which float32 could not hold for gradients above 1e19 or below 1e-23.

    Args:
        eta: η, the step size.
        warmup_steps: optimizer steps of equal weights, over which E_k(0) is averaged; the paper
            advises three epochs, the authors' code has 1.
        common: what every weighting takes, see `Weighting`.

    Example:
        >>> rule = ExcessMTL()
        >>> for first_norm in (1.0, 0.1):  # the first task comes near its optimum
        ...     direction = rule.combine(torch.ones(2), torch.diag(torch.tensor([first_norm, 1.0])))
        >>> rule.applied
        tensor([0.3324, 0.6676])
    """

    price: ClassVar[str] = "F + H + K B, and the K P numbers of H"

    def __init__(self, eta: float = 1.0, warmup_steps: int = 1, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        if eta <= 0 or warmup_steps < 1:
            raise ValueError(
                "`ExcessMTL` should have eta > 0 and warmup_steps of at least 1. Found"
                f" eta={eta} and warmup_steps={warmup_steps}. E_k(0) is averaged over the warm-up:"
                " use 1 for that of the first step."
            )
        self.eta = eta
        self.warmup_steps = warmup_steps
        self._hessian = self.memory.per_parameter("hessian")
        self._steps = self.memory.per_task("steps", measured=True)
        self._initial = self.memory.per_task("initial", measured=True)
        self._logits = self.memory.per_task("logits")

    def warm_up(self, steps_per_epoch: float) -> float:
        """The steps of equal weights, over which the first excess risks are averaged."""
        return self.warmup_steps

    def combine(
        self, losses: Float[Tensor, " K"], jacobian: Float[Tensor, "K P"]
    ) -> Float[Tensor, " P"]:
        """The gradient αᵀJ, after a step of α along the excess risks."""
        rows = self._hessian.rows(len(jacobian), jacobian.shape[1], jacobian)
        pairs = zip(jacobian, rows, strict=True)
        excess = torch.stack([_excess(gradient, hessian) for gradient, hessian in pairs])
        self.applied = self._move(excess).to(jacobian)
        return weighted_sum(self.applied, jacobian.unbind())

    def _move(self, excess: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """The next α; in the warm-up α stays, and E_k(0) takes in the excess risks."""
        steps = self._steps.read(excess) + 1
        warm = steps <= self.warmup_steps
        initial = self._initial.read(excess)
        initial = torch.where(warm, initial + (excess - initial) / steps, initial)
        logits = self._logits.read(excess)
        relative = excess / torch.where(initial > 0, initial, torch.inf)
        moved = torch.where(warm, logits, logits + self.eta * relative)
        moved = moved - moved.max()
        self._steps.write(steps)
        self._initial.write(initial)
        self._logits.write(moved)
        return torch.softmax(moved, 0)


def _excess(gradient: Float[Tensor, " P"], hessian: Float[Tensor, " P"]) -> Float[Tensor, ""]:
    """The excess risk gᵀ H⁻¹ g in float64, after adding g² to H² in place."""
    torch.hypot(hessian, gradient, out=hessian)
    floor = hessian.amax() * torch.finfo(hessian.dtype).eps
    total = torch.zeros_like(floor, dtype=torch.float64)
    for g, h in columns(gradient, hessian):
        # Never above |g|, whatever the scale.
        ratio = g / torch.where(h > floor, h, torch.inf)
        total += (ratio * g).sum(dtype=torch.float64)
    return total
