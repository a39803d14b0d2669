"""`Extraction`, a level of shared and own experts with their gates."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.models.mixtures.expert import Experts
from lightning_mtl.models.mixtures.gate import Gate

__all__ = ["Extraction"]


class Extraction(nn.Module):
    """A level of `CGC` and `PLE`: shared experts, and for each task its own experts and a gate.

    Args:
        tasks: their names.
        in_features: features that experts and gates take.
        shared_experts: number of experts that all tasks share.
        task_experts: number of each task's own experts.
        hidden: widths of an expert's layers.
        dropout: probability of a feature to be zero in training, after each layer.
    """

    def __init__(
        self,
        tasks: Iterable[str],
        in_features: int,
        shared_experts: int,
        task_experts: int,
        hidden: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        names = list(tasks)
        self.shared = Experts(shared_experts, in_features, hidden, dropout)
        self.own = nn.ModuleDict(
            {task: Experts(task_experts, in_features, hidden, dropout) for task in names}
        )
        self.gates = nn.ModuleDict(
            {task: Gate(in_features, task_experts + shared_experts) for task in names}
        )

    def mix(
        self,
        task: str,
        features: Float[Tensor, "N F"],
        own: Float[Tensor, "N m W"],
        shared: Float[Tensor, "N s W"],
    ) -> Float[Tensor, "N W"]:
        """What a task makes of its features, given what its experts and the shared ones return."""
        return self.gates[task](features, torch.cat([own, shared], dim=1))
