"""Spatial attention: what one task takes from the features of the others, gated at each pixel."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Distillation", "Gate", "SourceGatedDistillation", "TargetGatedDistillation"]

Gate = Literal["source", "target"]


class Distillation(nn.Module):
    """The features of each main task, with what it takes from those of all other tasks.

    Args:
        tasks: names of all tasks.
        main: of those that take.
        width: channels of the features.
        gate: the task whose features a gate is computed from: the "source" or the "target".
    """

    def __init__(
        self, tasks: Sequence[str], main: Sequence[str], width: int, gate: Gate = "source"
    ) -> None:
        super().__init__()
        # A task alone takes nothing, so that a gate would be of no use.
        by_source = gate == "source" or len(tasks) == 1
        kind = SourceGatedDistillation if by_source else TargetGatedDistillation
        self.targets = nn.ModuleDict(
            {task: kind(task, [other for other in tasks if other != task], width) for task in main}
        )

    def forward(
        self, features: Mapping[str, Float[Tensor, "N C h w"]]
    ) -> dict[str, Float[Tensor, "N C h w"]]:
        """The refined features of the main tasks, given the initial ones of all."""
        return {task: target(features) for task, target in self.targets.items()}


class SourceGatedDistillation(nn.Module):
    """F'_t = F_t + Σ_a σ(G_ta * F_a) ⊙ (W_ta * F_a): each other task says where to take from it.

    Args:
        target: t, the task that takes.
        sources: the other tasks a; without any, F'_t is F_t.
        width: channels of the features.
    """

    def __init__(self, target: str, sources: Sequence[str], width: int) -> None:
        super().__init__()
        self.target = target
        self.values = nn.ModuleDict({source: _convolution(width) for source in sources})
        self.gates = nn.ModuleDict({source: _convolution(width) for source in sources})

    def forward(self, features: Mapping[str, Float[Tensor, "N C h w"]]) -> Float[Tensor, "N C h w"]:
        """The refined features of the target, given those of all tasks."""
        refined = features[self.target]
        for source, value in self.values.items():
            gate = torch.sigmoid(self.gates[source](features[source]))
            refined = refined + gate * value(features[source])
        return refined


class TargetGatedDistillation(nn.Module):
    """F'_t = F_t + Σ_a σ(G_t * F_t) ⊙ (W_ta * F_a): the target says where to take from the others.

    Args:
        target: t, the task that takes.
        sources: the other tasks a, at least one.
        width: channels of the features.
    """

    def __init__(self, target: str, sources: Sequence[str], width: int) -> None:
        super().__init__()
        self.target = target
        self.values = nn.ModuleDict({source: _convolution(width) for source in sources})
        self.gate = _convolution(width)

    def forward(self, features: Mapping[str, Float[Tensor, "N C h w"]]) -> Float[Tensor, "N C h w"]:
        """The refined features of the target, given those of all tasks."""
        refined = features[self.target]
        gate = torch.sigmoid(self.gate(refined))
        for source, value in self.values.items():
            refined = refined + gate * value(features[source])
        return refined


def _convolution(width: int) -> nn.Conv2d:
    return nn.Conv2d(width, width, 3, padding=1, bias=False)
