"""The weighting DB-MTL, dual balancing of losses and gradients."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.gradients import weighted_sum
from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.jacobian_weighting import JacobianWeighting


class DBMTL(JacobianWeighting):
    r"""Dual balancing: averaged gradients of the logarithms of the losses, rescaled to one norm.

    ĝ_k ← β_t ĝ_k + (1 - β_t) ∇ log L_k with β_t = β / t^σ, and d = α Σ_k ĝ_k / ||ĝ_k||, α =
    max_k ||ĝ_k||. ∇ log L_k = g_k / L_k.

    Lin, Jiang, Ye, Zhang, Chen, Chen, Liu & Kwok, "Dual-Balancing for Multi-Task Learning", 2023
    (arXiv 2308.12029), Algorithm 1.

    Scale: as in the paper: K vectors of the largest norm. A `prior` cancels on the shared
    parameters.
    Heads: their own gradients, unweighted; in the paper those of log L_k, which an optimizer that
    normalises hardly tells apart.
    Memory: K P numbers of averaged gradients beside the K P of J. Checkpoints hold them too. They
    begin anew when other parameters are shared than before.
    Deviations: averages start at the first gradient, not at a fraction of it. Losses have to be
    positive; one of zero, of a batch without a valid label, counts as absent, and the task's
    average stays. Those below 1e-38 in float32 count as that much. Averages are kept in units of
    their own, powers of two, as ∇ log L may leave the range of the gradients' dtype; d may not.

    Args:
        beta: β of the averages; 0 does not average.
        beta_sigma: σ, their decay.
        common: what every weighting takes, see `Weighting`.

    Example:
        >>> gradients = torch.diag(torch.tensor([1.0, 6.0]))
        >>> DBMTL().combine(torch.tensor([2.0, 4.0]), gradients)  # of log L: lengths 0.5 and 1.5
        tensor([1.5000, 1.5000])
    """

    price: ClassVar[str] = "F + H + K B, and K P numbers of averaged gradients"
    positive_losses: ClassVar[bool] = True

    def __init__(
        self, beta: float = 0.9, beta_sigma: float = 0.5, **common: Unpack[Common]
    ) -> None:
        super().__init__(**common)
        if not 0 <= beta < 1 or beta_sigma < 0:
            raise ValueError(
                "`DBMTL` should have beta in [0, 1) and beta_sigma >= 0. Found"
                f" beta={beta} and beta_sigma={beta_sigma}. Use beta=0 to average nothing."
            )
        self.beta = beta
        self.beta_sigma = beta_sigma
        self._average = self.memory.per_parameter("average")
        self._unit = self.memory.per_task("unit", measured=True)
        self._norm = self.memory.per_task("norm", measured=True)
        self._steps = self.memory.per_task("steps", measured=True)

    def combine(
        self, losses: Float[Tensor, " K"], jacobian: Float[Tensor, "K P"]
    ) -> Float[Tensor, " P"]:
        """The sum of the averaged gradients at equal norms, α Σ ĝ / ||ĝ||; moves the averages."""
        positive = losses > 0
        steps = self._steps.read(losses) + positive
        self._steps.write(steps)
        average = self._average.rows(len(jacobian), jacobian.shape[1], jacobian)
        rate = torch.where(steps > 1, 1 - self.beta / steps**self.beta_sigma, 1.0) * positive
        # ∇ log L_k = g_k / L_k, without a copy of it.
        smallest = torch.finfo(losses.dtype).tiny
        share = rate.double() / torch.where(positive, losses.clamp(min=smallest), 1.0).double()
        kept = 1 - rate.double()
        before = kept * self._norm.read(share)
        unit = _unit(before, share, torch.linalg.vector_norm(jacobian, torch.inf, dim=1))
        factors = torch.stack([kept * self._unit.read(share) / unit, share / unit], 1)
        self._unit.write(unit)
        for row, gradient, (old, new) in zip(average, jacobian, factors.to(jacobian), strict=True):
            row.mul_(old).addcmul_(gradient, new)
        # In their units they are about 1, and so have squares that can be summed.
        lengths = torch.stack([torch.linalg.vector_norm(row) for row in average]).double()
        norms = lengths * unit
        self._norm.write(norms)
        scale = torch.where(lengths > 0, 1 / lengths, torch.zeros_like(lengths))
        # Last and in halves: α may be beyond the range where unit vectors cancel, and d be inside.
        root = norms.max().sqrt().to(jacobian)
        return weighted_sum(scale, average).mul_(root).mul_(root)


def _unit(
    before: Float[Tensor, " K"], share: Float[Tensor, " K"], largest: Float[Tensor, " K"]
) -> Float[Tensor, " K"]:
    """The powers of two in which the next averages are about 1, and at least representable.

    Args:
        before: norms of what is kept of the old averages.
        share: of the gradients.
        largest: absolute value in each of these.
    """
    size = torch.maximum(before, share * largest.double())
    # A denormal gradient would have a factor beyond the range of its dtype.
    size = torch.maximum(size, share * torch.finfo(largest.dtype).tiny)
    return torch.where(size > 0, torch.exp2(size.log2().floor()), 1.0)
