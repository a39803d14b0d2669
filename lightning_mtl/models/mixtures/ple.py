"""`PLE`: levels of shared and own experts, of which the lower ones exchange what they find."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.checks import check_number
from lightning_mtl.engine.graph import join_features
from lightning_mtl.models.features.backbone import features_of
from lightning_mtl.models.features.mlp import check_layers, towers
from lightning_mtl.models.mixtures.extraction import Extraction
from lightning_mtl.models.mixtures.gate import Gate
from lightning_mtl.models.network import MultiTaskNetwork

__all__ = ["PLE"]


class PLE(MultiTaskNetwork):
    """Progressive layered extraction: levels of `CGC`, with a gate for what is shared in between.

    Level j = 1, ..., J takes the features g^{k,j-1} of each task k and the shared ones g^{s,j-1};
    at the first level all of them are those of the sample, x. Each task mixes its own experts, on
    its features, and the shared ones, on the shared features; below the last level, the shared gate
    mixes all experts of all tasks:

        g^{k,j}(x) = w^{k,j}(g^{k,j-1}(x)) S^{k,j}(x),  w^{k,j}(g) = softmax(W_g^{k,j} g)
        y^k = t^k(g^{k,J}(x))

    The experts of a task below the last level thus serve the other tasks as well. Own are those of
    the last level, and what only they and the tower use: the task's gates of the last two levels.

    Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for
    Personalized Recommendations", RecSys 2020, section 4.2.

    Deviations: a backbone may come first; all levels and tasks have the same number of experts, of
    the same widths.

    Args:
        channels: outputs by task.
        backbone: maps the input to features `(N, F)`; `None` takes the input as it is.
        in_features: number of features, where `backbone.out_features` does not say it.
        levels: number of levels, from 1: one is `CGC`.
        shared_experts: number of experts of a level that all tasks share, from 1.
        task_experts: number of each task's own experts of a level, from 1.
        hidden: widths of an expert's layers, at least one.
        tower: widths of a tower's layers before the logits; none is a linear head.
        dropout: probability of a feature to be zero in training, after each layer.

    Raises:
        ValueError: if the number of features is not known, or an argument is out of range.

    Example:
        >>> network = PLE({"click": 1, "rating": 5}, in_features=3, levels=3)
        >>> {task: tuple(logits.shape) for task, logits in network(torch.rand(2, 3)).items()}
        {'click': (2, 1), 'rating': (2, 5)}
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        backbone: nn.Module | None = None,
        in_features: int | None = None,
        levels: int = 2,
        shared_experts: int = 2,
        task_experts: int = 2,
        hidden: Sequence[int] = (64,),
        tower: Sequence[int] = (32,),
        dropout: float = 0.0,
    ) -> None:
        check_number("PLE", "levels", levels, 1)
        check_number("PLE", "shared_experts", shared_experts, 1)
        check_number("PLE", "task_experts", task_experts, 1)
        check_layers("PLE", hidden, tower, dropout)
        super().__init__()
        self.backbone, features = features_of("PLE", backbone, in_features)
        widths = [features, *[hidden[-1]] * (levels - 1)]
        self.levels = nn.ModuleList(
            Extraction(channels, width, shared_experts, task_experts, hidden, dropout)
            for width in widths
        )
        experts = shared_experts + task_experts * len(channels)
        self.shared_gates = nn.ModuleList(Gate(width, experts) for width in widths[:-1])
        self.towers = towers(channels, hidden[-1], tower, dropout)

    def forward(self, inputs: Float[Tensor, "N ..."]) -> dict[str, Float[Tensor, "N C"]]:
        """The logits of each task."""
        levels: list[Any] = list(self.levels)
        common = self.backbone(inputs)
        features, shared = join_features([common, levels[0].shared(common)])
        # A tensor of its own for each task, as `torch.compile` joins none that is there twice.
        of_task = {task: features.view_as(features) for task in self.towers}
        for (level, following), gate in zip(pairwise(levels), self.shared_gates, strict=True):
            own = {task: level.own[task](of_task[task]) for task in of_task}
            common = gate(common, torch.cat([*own.values(), shared], dim=1))
            # The shared experts of the next level come before the join, as they belong to no task.
            of_task, own, shared, above = _joined(of_task, own, shared, following.shared(common))
            of_task = {task: level.mix(task, of_task[task], own[task], shared) for task in of_task}
            shared = above
        top = levels[-1]
        return {
            task: tower(top.mix(task, of_task[task], top.own[task](of_task[task]), shared))
            for task, tower in self.towers.items()
        }


def _joined(
    features: dict[str, Tensor], own: dict[str, Tensor], shared: Tensor, above: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, Tensor]:
    """The same tensors past `join_features`, since tasks start from all of them."""
    tasks = len(features)
    joined = join_features([*features.values(), *own.values(), shared, above])
    return (
        dict(zip(features, joined[:tasks], strict=True)),
        dict(zip(own, joined[tasks : 2 * tasks], strict=True)),
        joined[-2],
        joined[-1],
    )
