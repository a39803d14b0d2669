"""The weighting SoftAdapt, by how the losses change."""

import math
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mtl.checks import check_choice, check_number
from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.loss_shares import relative_to, softmax_shares
from lightning_mtl.weightings.bases.loss_weighting import LossWeighting

Rates = Literal["ratios", "differences"]


class SoftAdapt(LossWeighting):
    r"""SoftAdapt: losses that grow, or fall more slowly than the others, weigh more.

    w = K softmax(β r), with r the rates of change since the last step: ratios r_k = L_k / L'_k, or
    differences x_k = L_k - L'_k of which r = x / ||x||. The weights are those of this very step,
    or, with a `cycle` of n steps, the means over the last n of them, held for the next n.

    Heydari, Thompson & Mehmood, "SoftAdapt: Techniques for Adaptive Loss Weighting of Neural
    Networks with Multi-Part Loss Functions", arXiv 1912.12355. Ratios of this step are the rule of
    PhysicsNeMo's aggregator `SoftAdapt`; differences and a cycle that of NequIP's callback (there
    β = 1.1).

    Scale: Σ w = K, as in PhysicsNeMo. In the paper and NequIP, Σ w = 1.
    Heads: weighted, as the network minimises the weighted sum.
    Memory: without a cycle, under gradient accumulation, K P numbers for the task gradients, which
    then take one trunk pass each.
    Deviations: no constant is added to denominators. The paper's plain differences, whose weights
    depend on the scale of the losses, are not offered. NequIP's code has a cycle of n, but takes
    the means over its first two steps, and never moves for n = 1. A task that comes late has
    weight 1 for the rest of a cycle, and counts as unchanged at first. Losses have to be positive;
    a loss of zero, of a batch without a valid label, counts as absent: its weight is 0 where
    weights are those of this step, and what is remembered of it stays.

    Args:
        beta: β; 0 for equal weights, negative for tasks that fall fast to weigh more.
        rates: "ratios" or "differences".
        cycle: n, in optimizer steps; `None` for the weights of this step.
        common: what every weighting takes, see `Weighting`.

    Example:
        >>> rule = SoftAdapt()
        >>> rule.update(torch.tensor([1.0, 4.0]))
        >>> rule.weights(torch.tensor([0.5, 4.0]))  # the first loss fell
        tensor([0.7551, 1.2449])
    """

    positive_losses: ClassVar[bool] = True

    def __init__(
        self,
        beta: float = 1.0,
        rates: Rates = "ratios",
        cycle: int | None = None,
        **common: Unpack[Common],
    ) -> None:
        self.cycle = cycle
        super().__init__(**common)
        check_choice("SoftAdapt", "rates", rates, get_args(Rates))
        if not math.isfinite(beta):
            raise ValueError(
                f"`SoftAdapt(beta=)` should be finite. Found {beta}. Use a large one to give nearly"
                " all weight to one task."
            )
        if cycle is not None:
            remedy = "Use `None` for the weights of each step."
            check_number("SoftAdapt", "cycle", cycle, 1, remedy=remedy)
        self.beta = beta
        self.rates = rates
        self._last = self.memory.per_task("last", initial=math.nan)
        self._held = self.memory.per_task("held", initial=1.0)
        self._mean = self.memory.per_task("mean")
        self._count = self.memory.per_task("count")
        self._steps = self.memory.single("steps")

    @property
    def depends_on_losses(self) -> bool:  # type: ignore[override]
        """Whether the weights are those of this step, as without a cycle."""
        return self.cycle is None

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The weights of this step; with a cycle, those that are held during it."""
        return self._shares(losses) if self.cycle is None else self._held.read(losses)

    def update(self, losses: Float[Tensor, " K"]) -> None:
        """Remember the losses, and go on in the cycle. Called once per optimizer step."""
        positive = losses > 0
        if self.cycle is not None:
            last = self._last.read(losses)
            self._add(self._shares(losses), positive & ~torch.isnan(last))
        self._last.write(torch.where(positive, losses, self._last.read(losses)))
        if self.cycle is not None:
            self._steps.count()
            assert self._steps.values is not None
            # On the host: reading it waits for no device.
            if int(self._steps.values) % self.cycle == 0:
                self._end_cycle()

    def _shares(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """K softmax of the rates of change since the last step."""
        last, positive = self._last.read(losses), losses > 0
        if self.rates == "ratios":
            rates = relative_to(losses, last)
        else:
            change = torch.where(positive & ~torch.isnan(last), losses - last, 0.0)
            # In units of the largest change, whose square need not be in the range of the dtype.
            change = change / change.abs().max().clamp(min=torch.finfo(losses.dtype).tiny)
            rates = change / torch.linalg.vector_norm(change).clamp(min=1)
        return softmax_shares(self.beta * rates, positive)

    def _add(self, shares: Float[Tensor, " K"], valid: Bool[Tensor, " K"]) -> None:
        """Take this step's weights into the means of the cycle."""
        count = self._count.read(shares) + valid
        mean = self._mean.read(shares)
        self._mean.write(torch.where(valid, mean + (shares - mean) / count.clamp(min=1), mean))
        self._count.write(count)

    def _end_cycle(self) -> None:
        """Hold the means from now on; a task that did not occur keeps its weight."""
        mean, count, held = self._mean.values, self._count.values, self._held.values
        assert mean is not None and count is not None
        before = torch.ones_like(mean) if held is None else held
        self._held.values = torch.where(count > 0, mean, before)
        self._mean.forget()
        self._count.forget()
