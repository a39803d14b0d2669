"""Learning-rate annealing, by the mean sizes of the entries of the task gradients."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.gradients import Gradients, real
from lightning_mtl.engine.places.all_shared import AllShared
from lightning_mtl.engine.places.place import Place
from lightning_mtl.engine.places.shared_layer import SharedLayer
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting


class LearningRateAnnealing(GramianWeighting):
    r"""Learning-rate annealing: gradients are scaled to the mean absolute entry of a reference's.

    λ_k ← (1 - α) λ_k + α mean|g_ref| / mean|g_k|, from λ = 1; the step of the network uses the new
    λ. The weight of the reference stays 1.

    Wang, Teng & Perdikaris, "Understanding and Mitigating Gradient Pathologies in Physics-Informed
    Neural Networks", SIAM Journal on Scientific Computing 2021 (arXiv 2001.04536), Algorithm 1, for
    the residual of a differential equation as the reference. Means on both sides, and the default
    of α, are those of PhysicsNeMo's aggregator `LRAnnealing`.

    Scale: λ_ref = 1, as in the paper and PhysicsNeMo.
    Heads: weighted, as in the paper, where the network minimises Σ λ_k L_k.
    Deviations: the paper has the largest absolute entry of g_ref in the numerator. PhysicsNeMo
    takes means over the parameters that a loss uses, and adds 1e-8 to the denominator; here they
    run over all shared parameters. The λ of a task without a gradient stays, and so do all in a
    step without a gradient of the reference.

    Args:
        alpha: α in [0, 1]; 0.1 in the paper.
        reference: the name of a task; by default the first one that has a gradient in
            the step.
        gradients: where they are measured, `"shared"` or `"last_layer"`; this and the arguments
            below are those of `GramianWeighting`.
        every_n_steps: measure at every n-th optimizer step, and reuse λ in between; the paper
            advises 10.
        layer: name of the shared layer for `"last_layer"`; by default the last one.
        weight_heads: whether the gradients of the heads are weighted too.
        prior: what multiplies the losses, by the names of the tasks, see `Weighting`.

    Example:
        >>> rule = LearningRateAnnealing(alpha=0.5)
        >>> gradients = torch.tensor([[1.0, -1.0], [4.0, 0.0]])
        >>> rule.brought = rule.observe([[row] for row in gradients], scale=torch.ones(2))
        >>> rule.weights(torch.ones(2), gradients @ gradients.T)
        tensor([1.0000, 0.7500])
    """

    needs_rows: ClassVar[bool] = True
    places: ClassVar[dict[str, type[Place]]] = {"shared": AllShared, "last_layer": SharedLayer}
    most_on_device: ClassVar[int] = 10_000

    def __init__(
        self,
        alpha: float = 0.01,
        reference: str | None = None,
        gradients: str = "shared",
        every_n_steps: int = 1,
        layer: str | None = None,
        weight_heads: bool = True,
        prior: dict[str, float] | None = None,
    ) -> None:
        super().__init__(gradients, every_n_steps, layer, weight_heads, prior=prior)
        if not 0 <= alpha <= 1:
            raise ValueError(
                f"`LearningRateAnnealing(alpha=)` should lie in [0, 1]. Found {alpha}. Use 1 for"
                " the ratio of this step alone."
            )
        self.alpha = alpha
        self.reference = reference
        self._weights = self.memory.per_task("weights", initial=1.0)

    def observe(self, rows: list[Gradients], scale: Float[Tensor, " K"]) -> Float[Tensor, " n"]:
        """The sums of the absolute entries of each gradient. Called before `weights`.

        Args:
            rows: the gradients times `scale`.
            scale: what to divide them by.
        """
        sums = [torch._foreach_norm([real(part) for part in row], 1) for row in rows]
        totals = torch.stack(
            [torch.stack([part.to(scale) for part in each]).sum() for each in sums]
        )
        return totals / scale

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The moving averages λ after this step. Called after `observe`."""
        weights = self._weights.read(gramian.diagonal())
        sizes = self.brought.to(weights)
        size = self._size_of_reference(sizes)
        moved = torch.lerp(weights, size / torch.where(sizes > 0, sizes, 1.0), self.alpha)
        weights = torch.where((sizes > 0) & (size > 0), moved, weights)
        self._weights.write(weights)
        return weights

    def _size_of_reference(self, sizes: Float[Tensor, " K"]) -> Float[Tensor, " 1"]:
        """What the others are compared with; zero if the reference has no gradient."""
        if self.reference is None:
            # The first of the largest; an index that is a tensor is not waited for.
            return sizes.index_select(0, (sizes > 0).to(torch.uint8).argmax(0, keepdim=True))
        if self.tasks and self.reference not in self.tasks:
            raise ValueError(
                f"`LearningRateAnnealing(reference=)` should be one of the tasks {self.tasks}."
                f" Found {self.reference!r}. Correct the name, or leave it out for the first task."
            )
        names = self.memory.names(len(sizes))
        if self.reference not in names:
            return torch.zeros_like(sizes[:1])
        place = names.index(self.reference)
        return sizes[place : place + 1]
