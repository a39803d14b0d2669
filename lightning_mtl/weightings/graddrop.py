"""The weighting GradDrop, by gradient sign dropout."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.jacobian import columns
from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.jacobian_weighting import JacobianWeighting
from lightning_mtl.weightings.memory.counter_uniform import uniform
from lightning_mtl.weightings.memory.random_stream import RandomStream


class GradDrop(JacobianWeighting):
    r"""Gradient sign dropout: every parameter follows one sign, drawn by how much the tasks agree.

    With the positive sign purity P = 1/2 (1 + Σ_k g_k / Σ_k |g_k|) of each parameter and U
    uniform in [0, 1], the positive gradients are kept where P > U and the negative ones where P
    < U; of what is dropped a share `leak` remains. d is the sum of what is left.

    Chen, Ngiam, Huang, Luong, Kretzschmar, Chai & Anguelov, "Just Pick a Sign: Optimizing Deep
    Multitask Models with Gradient Sign Dropout", NeurIPS 2020, eq. 1, Algorithm 1.

    Scale: the sum, as in the paper: Σ g where all signs agree.
    Heads: their own gradients, unweighted.
    Memory: the K P numbers of J, and one row more.
    Deviations: signs are those of the shared parameters' gradients, as in TorchJD; the paper (and
    LibMTL) takes those of the shared features, summed over the batch.

    Args:
        leak: in [0, 1]; 1 is the plain sum.
        seed: of the draws, which are alike on every rank and every device, and saved with
            checkpoints; by default that of `seed_everything`.
        common: what every weighting takes, see `Weighting`.

    Example:
        >>> disagree = torch.tensor([[1.0, 2.0], [3.0, -2.0]])  # on the second parameter
        >>> GradDrop(seed=0).combine(torch.ones(2), disagree)
        tensor([ 4., -2.])
    """

    price: ClassVar[str] = "F + H + K B"

    def __init__(
        self, leak: float = 0.0, seed: int | None = None, **common: Unpack[Common]
    ) -> None:
        super().__init__(**common)
        if not 0 <= leak <= 1:
            raise ValueError(
                f"`GradDrop(leak=)` should be in [0, 1]. Found {leak}. Use 1 for the plain sum."
            )
        self.leak = leak
        self.seed = seed
        self._stream = RandomStream(self.memory, seed)

    def combine(
        self, losses: Float[Tensor, " K"], jacobian: Float[Tensor, "K P"]
    ) -> Float[Tensor, " P"]:
        """The gradient Σ_k (leak + (1 - leak) M_k) g_k, where M_k is 1 on what is kept of g_k."""
        # Drawn where the gradients are: P numbers are too many to send.
        seed, place = self._stream.draw_seed(), 0
        direction = torch.empty_like(jacobian[0])
        for rows, into in columns(jacobian, direction):
            into.copy_(self._masked_sum(rows, uniform(seed, place, len(into), into.device)))
            place += len(into)
        return direction

    def _masked_sum(
        self, jacobian: Float[Tensor, "K p"], drawn: Float[Tensor, " p"]
    ) -> Float[Tensor, " p"]:
        total = jacobian.sum(0)
        size = jacobian.abs().sum(0)
        purity = 0.5 * (1 + total / torch.where(size > 0, size, 1.0))
        positive = torch.where(purity > drawn, jacobian.clamp(min=0).sum(0), 0.0)
        negative = torch.where(purity < drawn, jacobian.clamp(max=0).sum(0), 0.0)
        return self.leak * total + (1 - self.leak) * (positive + negative)
