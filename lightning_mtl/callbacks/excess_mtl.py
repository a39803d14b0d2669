"""ExcessMTL."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.callbacks.jacobian_weighting import JacobianWeighting
from lightning_mtl.rows import read_rows, write_rows


class ExcessMTL(JacobianWeighting):
    r"""Excess risks as a compass: tasks far from their own optimum weigh more, noisy ones do not.

    The excess risk is estimated to second order with a diagonal Hessian as AdaGrad's, E_k = g_kᵀ
    H_k⁻¹ g_k with H_k = √(Σ_t g_k²), relative to its mean over a warm-up; the weights move by an
    exponentiated gradient step, α_k ∝ α_k exp(η E_k / E_k(0)).

    He, Zhou, Zhang, Yun, Xu, Zeng, Chilimbi & Zhao, "Robust Multi-Task Learning with Excess Risks",
    ICML 2024, eq. 6, 7 and 9.

    Scale: Σ α = 1, as in the paper; LibMTL and the authors' code have K.
    Heads: their own gradients, unweighted; the authors' code weights them.
    Memory: K P numbers, the sums of squares, and as many again while they are moved.
    Deviations: the constant in H is relative to its largest entry.

    Args:
        eta: η, the step size.
        warmup_steps: optimizer steps of equal weights, over which E_k(0) is averaged; the paper
            advises three epochs, the authors' code has 1.
    """

    price: ClassVar[str] = "F + H + K B, and K P numbers of summed squares"

    def __init__(self, eta: float = 1.0, warmup_steps: int = 1) -> None:
        super().__init__()
        if eta <= 0 or warmup_steps < 1:
            raise ValueError(
                "`ExcessMTL` needs eta > 0 and warmup_steps of at least 1. Found"
                f" eta={eta} and warmup_steps={warmup_steps}."
            )
        self.eta = eta
        self.warmup_steps = warmup_steps

    def combine(
        self, losses: Float[Tensor, " K"], jacobian: Float[Tensor, "K P"]
    ) -> Float[Tensor, " P"]:
        """αᵀJ, with the moved α."""
        squares = jacobian.square()
        total = read_rows(self.state, "squares", jacobian)[0] + squares
        write_rows(self.state, "squares", total)
        hessian = total.sqrt()
        floor = hessian.amax(1, keepdim=True) * torch.finfo(hessian.dtype).eps
        excess = (squares / torch.where(hessian > floor, hessian, torch.inf)).sum(1)
        self.applied = self._move(excess).to(jacobian)
        return self.applied @ jacobian

    def _move(self, excess: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """One step of α, or of the warm-up's mean."""
        steps = self.state.read("steps", excess) + 1
        warm = steps <= self.warmup_steps
        initial = self.state.read("initial", excess)
        initial = torch.where(warm, initial + (excess - initial) / steps, initial)
        logits = self.state.read("logits", excess)
        relative = excess / torch.where(initial > 0, initial, torch.inf)
        moved = torch.where(warm, logits, logits + self.eta * relative)
        moved = moved - moved.max()
        for name, new in (("steps", steps), ("initial", initial), ("logits", moved)):
            self.state.write(name, new)
        return torch.softmax(moved, 0)
