"""The weighting GradVac, the gradient vaccine."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg import cosines_and_norms, integers_beside
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting
from lightning_mtl.weightings.bases.measurement import Measurement, Unpack
from lightning_mtl.weightings.memory.random_stream import RandomStream

LARGEST = 1 - 1e-6
"""The largest target cosine: reaching 1 would take infinitely much of the other gradient."""

TINY = 1e-24
"""The smallest squared length of what is left of a unit gradient; less is rounding."""


class GradVac(GramianWeighting):
    r"""Gradient vaccine: gradients that agree less than usual are pulled to their usual cosine.

    Each g_i visits the other tasks j ≠ i in a random order. With φ the cosine between g_i' (as
    changed so far) and g_j, and φ̂_ij its running average: where φ < φ̂_ij,

        g_i' ← g_i' + ||g_i'|| (φ̂ √(1 - φ²) - φ √(1 - φ̂²)) / (||g_j|| √(1 - φ̂²)) g_j,

    after which their cosine is φ̂; then φ̂_ij ← (1 - β) φ̂_ij + β φ. d = Σ_i g_i'. All of this stays
    in the span of the gradients, so that the Gramian is enough.

    Wang, Tsvetkov, Firat & Cao, "Gradient Vaccine: Investigating and Improving Multi-task
    Optimization in Massively Multilingual Models", ICLR 2021, Algorithm 1.

    Scale: the sum, as in the paper and in TorchJD: w = 1 where nothing is pulled.
    Heads: their own gradients, unweighted.
    Deviations: one cosine for all shared parameters (the paper also has one per layer). φ̂ is kept
    below 1 - 1e-6, so that nearly equal tasks do not ask for an infinite pull. LibMTL moves φ̂ only
    where it pulls.

    Args:
        beta: β, the share of the newest cosine in the average; 0.5 in LibMTL and TorchJD.
        seed: of the random order, which is alike on every rank and saved with checkpoints; by
            default that of `seed_everything`.
        measurement: where and how often gradients are measured, see `GramianWeighting`.

    Example:
        >>> rule = GradVac()
        >>> agree, orthogonal = torch.tensor([[1.0, 0.8], [0.8, 1.0]]), torch.eye(2)
        >>> moved = rule.weights(torch.ones(2), agree)  # the target cosine is now 0.4
        >>> rule.weights(torch.ones(2), orthogonal)
        tensor([1.4364, 1.4364])
    """

    most_on_device: ClassVar[int] = 8

    def __init__(
        self,
        beta: float = 0.5,
        seed: int | None = None,
        **measurement: Unpack[Measurement],
    ) -> None:
        super().__init__(**measurement)
        if not 0 <= beta <= 1:
            raise ValueError(
                f"`GradVac(beta=)` should be in [0, 1]. Found {beta}. Use 1 to follow the newest"
                " cosines alone."
            )
        self.beta = beta
        self.seed = seed
        self._stream = RandomStream(self.memory, seed)
        self._targets = self.memory.per_pair("targets")

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The coefficient of each gradient in the sum of the changed ones; moves the targets."""
        cosines, norms = cosines_and_norms(gramian)
        identity = torch.eye(len(norms), dtype=cosines.dtype, device=cosines.device)
        with self._stream.drawing() as generator:
            draws = torch.rand(len(norms), len(norms), generator=generator)
        orders = integers_beside(draws.argsort(1), cosines)
        # Every pair meets once a step, so targets can be read at once. A zero gradient meets none.
        targets = self._targets.read(cosines)
        nonzero = cosines.diagonal() > 0
        meets = (identity == 0) & nonzero & nonzero.unsqueeze(1)
        cotangents = targets / (1 - targets.square()).clamp(min=1e-12).sqrt()
        slopes = torch.where(meets, cotangents, -torch.inf).gather(1, orders)
        # Row i is g_i' / ||g_i||: its products with the unit gradients, and its squared length.
        products, square = cosines.clone(), cosines.diagonal().unsqueeze(1)
        met_products, squares, pulls = [], [], []
        turns = zip(orders.split(1, 1), cosines[orders].unbind(1), slopes.split(1, 1), strict=True)
        for j, others, slope in turns:
            product = products.gather(1, j)
            # From φ to φ̂ in the plane of g_i' and g_j, what is across g_j stays as it is.
            across = torch.addcmul(square, product, product, value=-1).clamp_(min=TINY)
            wanted = torch.maximum(product, slope * across.sqrt())
            met_products.append(product)
            squares.append(square)
            pulls.append(wanted - product)
            square = across.addcmul_(wanted, wanted)
            products.addcmul_(others, pulls[-1])
        changed = identity.scatter_add(1, orders, torch.cat(pulls, 1))
        lengths = torch.cat(squares, 1).clamp_(min=TINY).sqrt_()
        met = (torch.cat(met_products, 1) / lengths).clamp_(-1, 1)
        met = torch.empty_like(cosines).scatter_(1, orders, met)
        moved = torch.lerp(targets, met, self.beta).clamp(max=LARGEST)
        self._targets.write(torch.where(meets, moved, targets))
        return (norms @ changed / norms).to(gramian)
