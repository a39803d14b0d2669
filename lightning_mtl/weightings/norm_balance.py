"""The weighting NormBalance, by the norms of the task gradients."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.checks import check_number
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting
from lightning_mtl.weightings.bases.measurement import Measurement, Unpack
from lightning_mtl.weightings.memory.constants import Constants


class NormBalance(GramianWeighting):
    r"""Norm balancing: every task gradient is scaled to one norm, or part of the way there.

    w_k = c_k (mean_j G_jj / G_kk)^p, with G_kk = ||g_k||² of this step, or its bias-corrected
    moving average. p = 1/2 makes all norms equal, or proportional to c; p = 0 changes nothing.

    The rule of several works. Qin, Wang, Liao & Yan, "NTKMTL: Mitigating Task Imbalance in
    Multi-Task Learning from Neural Tangent Kernel Perspective", NeurIPS 2025, with n = 1. Wang,
    Sankaran, Wang & Perdikaris, "An Expert's Guide to Training Physics-informed Neural Networks",
    arXiv 2308.08468 (code: jaxpi). Défossez, Copet, Synnaeve & Adi, "High Fidelity Neural Audio
    Compression", TMLR 2023 (code: the balancer of EnCodec).

    Scale: equal gradients have w = c. NTKMTL's code has √K times these weights, multiplies the
    gradient by K once more, and clips its norm to 1. jaxpi has mean_j ||g_j|| / ||g_k||, which is
    smaller by the ratio of the mean norm to the root mean square. EnCodec's c sum to 1, and it
    scales to a norm of 1, not to the root mean square. With p = 1/2, a `prior` cancels on the
    shared parameters, but for the length of the step: use `shares`.
    Heads: their own gradients, unweighted, as in NTKMTL's code; in jaxpi all parameters are shared,
    and EnCodec balances what its losses send to the output of the whole network
    (`gradients="features"` with `shared_features` returning that output).
    Deviations: jaxpi averages the weights, by .9 at every 1000th step (`every_n_steps`), and
    EnCodec norms, by .999, and for each sample; here squared norms are averaged, which are what
    NTKMTL calls the kernel. No constant is added to denominators. A zero gradient has weight c, and
    is otherwise left out.

    Args:
        exponent: p >= 0.
        decay: of the moving averages; 0 for the norms of this step alone. Steps that reuse weights
            (`every_n_steps`) do not count.
        shares: c by the names of the tasks, positive; 1 for a task that is not named.
        measurement: where and how often gradients are measured, see `GramianWeighting`.

    Example:
        >>> gramian = torch.diag(torch.tensor([1.0, 7.0]))
        >>> NormBalance().weights(torch.ones(2), gramian)
        tensor([2.0000, 0.7559])
    """

    most_on_device: ClassVar[int] = 10_000

    def __init__(
        self,
        exponent: float = 0.5,
        decay: float = 0.0,
        shares: dict[str, float] | None = None,
        **measurement: Unpack[Measurement],
    ) -> None:
        super().__init__(**measurement)
        check_number("NormBalance", "exponent", exponent, 0, remedy="Use 0.5 for equal norms.")
        if not 0 <= decay < 1:
            raise ValueError(
                f"`NormBalance(decay=)` should lie in [0, 1). Found {decay}. Use one near 1 to"
                " average over many steps."
            )
        if shares is not None and not all(share > 0 for share in shares.values()):
            raise ValueError(
                f"`NormBalance(shares=)` should be positive. Found {shares}. Use a small one for a"
                " task that should count little."
            )
        self.exponent = exponent
        self.decay = decay
        self.shares = shares
        self._square = self.memory.per_task("square", measured=True)
        self._steps = self.memory.per_task("steps", measured=True)
        self._constants = Constants()

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The weights c (mean_j G_jj / G_kk)^p; c for a zero gradient."""
        squares = self._averaged(gramian.diagonal())
        nonzero = squares > 0
        # In units of the largest: a sum of squares might leave the range of the dtype.
        relative = squares / squares.max().clamp(min=torch.finfo(squares.dtype).tiny)
        mean = relative.sum() / nonzero.sum().clamp(min=1)
        ratio = torch.where(nonzero, mean / torch.where(nonzero, relative, 1.0), 1.0)
        return ratio.pow(self.exponent) * self._named_shares(ratio)

    def _averaged(self, squares: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The moving averages after this step, corrected for their start at zero."""
        if self.decay == 0:
            return squares
        steps = self._steps.read(squares) + 1
        average = torch.lerp(squares, self._square.read(squares), self.decay)
        self._steps.write(steps)
        self._square.write(average)
        return average / (1 - self.decay**steps)

    def _named_shares(self, like: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The numbers c of the tasks present."""
        if self.shares is None:
            return torch.ones_like(like)
        unknown = set(self.shares) - set(self.tasks)
        if self.tasks and unknown:
            raise ValueError(
                f"`NormBalance(shares=)` should name tasks among {self.tasks}. Found"
                f" {sorted(unknown)}. Correct the names, or those of the tasks."
            )
        names = self.memory.names(len(like))
        return self._constants.like([self.shares.get(name, 1.0) for name in names], like)
