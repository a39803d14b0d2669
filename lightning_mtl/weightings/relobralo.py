"""The weighting ReLoBRaLo, relative loss balancing with random lookback."""

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.checks import check_number
from lightning_mtl.engine.transfers import to_device
from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.loss_shares import relative_to, softmax_shares
from lightning_mtl.weightings.bases.loss_weighting import LossWeighting
from lightning_mtl.weightings.memory.random_stream import RandomStream


class ReLoBRaLo(LossWeighting):
    r"""Relative loss balancing with random lookback: losses that fall slowly weigh more.

    With the shares λ(t, t') = K softmax(L(t) / (T L(t'))), the weights of step t are the moving
    average w ← α (ρ w + (1 - ρ) λ(t, 0)) + (1 - α) λ(t, t-1), which starts at 1. At each step ρ is
    1 with probability E[ρ], and else 0: the average then begins anew from how far each loss has
    come since the first step.

    Bischof & Kraus, "Multi-Objective Loss Balancing for Physics-Informed Deep Learning", arXiv
    2110.09813. The defaults are those of PhysicsNeMo's aggregator `Relobralo`.

    Scale: Σ w = K, as in the paper and PhysicsNeMo.
    Heads: weighted, as the network minimises the weighted sum.
    Memory: under gradient accumulation, K P numbers for the task gradients, which then take one
    trunk pass each.
    Deviations: no constant is added to denominators, where PhysicsNeMo has 1e-8. A task that comes
    late has w = 1, and a ratio of 1 at first; then Σ w = K holds only nearly. Losses have to be
    positive; a loss of zero, of a batch without a valid label, counts as absent: its weight is 0,
    and what is remembered of it stays.

    Args:
        alpha: α, the decay of the average; 0.999 in the authors' code.
        rho: E[ρ], the probability that the average goes on; 1 for no lookback.
        temperature: T; large values even the shares out.
        seed: of ρ, which is alike on every rank and saved with checkpoints; by default that of
            `seed_everything`.
        common: what every weighting takes, see `Weighting`.

    Example:
        >>> rule = ReLoBRaLo(alpha=0.5, rho=1.0)
        >>> rule.update(torch.tensor([1.0, 1.0]))
        >>> rule.weights(torch.tensor([0.5, 1.0]))  # the first loss fell
        tensor([0.8775, 1.1225])
    """

    depends_on_losses: ClassVar[bool] = True
    positive_losses: ClassVar[bool] = True

    def __init__(
        self,
        alpha: float = 0.95,
        rho: float = 0.99,
        temperature: float = 1.0,
        seed: int | None = None,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        check_number("ReLoBRaLo", "alpha", alpha, 0, 1, "Use 0 for the shares of this step alone.")
        check_number("ReLoBRaLo", "rho", rho, 0, 1, "Use 1 for no lookback.")
        if temperature <= 0:
            raise ValueError(
                f"`ReLoBRaLo(temperature=)` should be positive. Found {temperature}. Use a large"
                " one for nearly equal weights."
            )
        self.alpha = alpha
        self.rho = rho
        self.temperature = temperature
        self._average = self.memory.per_task("average", initial=1.0)
        self._first = self.memory.per_task("first", initial=math.nan)
        self._last = self.memory.per_task("last", initial=math.nan)
        self._stream = RandomStream(self.memory, seed)

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The moving average after this step; 0 for a loss of zero."""
        return torch.where(losses > 0, self._moved(losses, self._stream.peek()), 0.0)

    def update(self, losses: Float[Tensor, " K"]) -> None:
        """Remember average and losses, and move on to the next ρ. Called once per step."""
        positive = losses > 0
        with self._stream.drawing() as generator:
            moved = self._moved(losses, generator)
        first = self._first.read(losses)
        self._average.write(torch.where(positive, moved, self._average.read(losses)))
        self._first.write(torch.where(torch.isnan(first) & positive, losses, first))
        self._last.write(torch.where(positive, losses, self._last.read(losses)))

    def _moved(self, losses: Float[Tensor, " K"], generator: torch.Generator) -> Tensor:
        """The average after a step with these losses, and the next number of the generator."""
        goes_on = (torch.rand((), generator=generator) < self.rho).to(losses.dtype)
        goes_on = to_device(goes_on, losses.device)
        since_first, since_last = (
            softmax_shares(relative_to(losses, entry.read(losses)) / self.temperature, losses > 0)
            for entry in (self._first, self._last)
        )
        history = torch.lerp(since_first, self._average.read(losses), goes_on)
        return torch.lerp(since_last, history, self.alpha)
