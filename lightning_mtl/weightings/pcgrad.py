"""The weighting PCGrad, by projection of conflicting gradients."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg import cosines_and_norms, integers_beside
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting
from lightning_mtl.weightings.bases.measurement import Measurement, Unpack
from lightning_mtl.weightings.memory.random_stream import RandomStream


class PCGrad(GramianWeighting):
    r"""Projecting conflicting gradients: components against other tasks are removed before the sum.

    Each g_i visits the other tasks j ≠ i in a random order, and loses its component along g_j where
    g_i^PC·g_j < 0: g_i^PC ← g_i^PC - (g_i^PC·g_j / ||g_j||²) g_j, with the original g_j. Then
    d = Σ_i g_i^PC. All of this stays in the span of the gradients, so that the Gramian is enough.

    Yu, Kumar, Gupta, Levine, Hausman & Finn, "Gradient Surgery for Multi-Task Learning", NeurIPS
    2020, Algorithm 1.

    Scale: the sum, as in the paper and in TorchJD: w = 1 without conflicts. Kozistr's optimizer and
    others take the mean, 1/K of it.
    Heads: their own gradients, unweighted, as in the paper.
    Deviations: none. LibMTL and nash-mtl also visit j = i, which projects a gradient on itself.

    Args:
        seed: of the random order, which is alike on every rank and saved with checkpoints; by
            default that of `seed_everything`.
        measurement: where and how often gradients are measured, see `GramianWeighting`.

    Example:
        >>> conflict = torch.tensor([[1.0, -1.0], [-1.0, 2.0]])
        >>> PCGrad().weights(torch.ones(2), conflict)
        tensor([2.0000, 1.5000])
    """

    most_on_device: ClassVar[int] = 8

    def __init__(
        self,
        seed: int | None = None,
        **measurement: Unpack[Measurement],
    ) -> None:
        super().__init__(**measurement)
        self.seed = seed
        self._stream = RandomStream(self.memory, seed)

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The coefficient of each gradient in the sum of the projected ones."""
        cosines, norms = cosines_and_norms(gramian)
        identity = torch.eye(len(norms), dtype=cosines.dtype, device=cosines.device)
        with self._stream.drawing() as generator:
            draws = torch.rand(len(norms), len(norms), generator=generator)
        orders = integers_beside(draws.argsort(1), cosines)
        other = (1 - identity).gather(1, orders)
        # Row i is g_i^PC / ||g_i||; its products with the unit gradients; all rows step at once.
        products, cuts = cosines.clone(), []
        turns = zip(orders.split(1, 1), cosines[orders].unbind(1), other.split(1, 1), strict=True)
        for visited, others, mask in turns:
            cuts.append(products.gather(1, visited).clamp_(max=0).mul_(mask))
            products.addcmul_(others, cuts[-1], value=-1)
        projected = identity.scatter_add(1, orders, torch.cat(cuts, 1).neg_())
        return (norms @ projected / norms).to(gramian)
