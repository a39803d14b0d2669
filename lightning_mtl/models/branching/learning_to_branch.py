"""`LearningToBranch`: which layers tasks share is learned together with the layers."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.checks import check_number
from lightning_mtl.models.branching.choice import Choice
from lightning_mtl.models.branching.nodes import Nodes
from lightning_mtl.models.branching.tree import Tree
from lightning_mtl.models.features.backbone import features_of
from lightning_mtl.models.features.mlp import check_layers, towers
from lightning_mtl.models.mixtures.expert import Experts
from lightning_mtl.models.network import MultiTaskNetwork

__all__ = ["LearningToBranch"]


class LearningToBranch(MultiTaskNetwork):
    """Layers of several nodes, each of which learns from which node of the layer before it grows.

    With the outputs Y^l = [y_1^l, ..., y_I^l] of the nodes of layer l, node j of the next layer
    takes the input

        x_j^{l+1} = E_{d_j ~ p_θj}[d_j · Y^l],  p(d_ij = 1) = softmax(θ_j)_i

    where d_j is one-hot: j has one parent. In training d_j is drawn by the Gumbel-softmax, so that
    the θ are trained with everything else:

        d_ij = exp((θ_ij + ε_i) / τ) / sum_i' exp((θ_i'j + ε_i') / τ),  ε_i ~ Gumbel(0, 1)

    In evaluation it is the most probable parent. Tasks choose their node of the last layer alike.
    The temperature τ falls from epoch to epoch; in the first of them, a warm-up, all parents are
    drawn with the same probability, so that every node is trained before one is preferred.

    Guo et al., "Learning to Branch for Multi-Task Learning", ICML 2020, section 3.

    Deviations: nodes are multi-layer perceptrons on the features of a backbone, rather than the
    stages of a convolutional network. θ are logits, of which the paper takes the logarithm as
    probabilities. The temperature falls geometrically with the share of the training that is done,
    as `start_epoch` is told no number of epochs. The network is not trained anew once the tree is
    found: nodes that no task uses stay, and cost time but change nothing.

    Args:
        channels: outputs by task.
        backbone: maps the input to features `(N, F)`; `None` takes the input as it is.
        in_features: number of features, where `backbone.out_features` does not say it.
        nodes: number of nodes of each layer; those of the first take the features.
        hidden: widths of a node's layers, at least one.
        tower: widths of a tower's layers before the logits; none is a linear head.
        dropout: probability of a feature to be zero in training, after each layer.
        temperature: τ at the start, above 0.
        final_temperature: τ at the end, above 0 and at most `temperature`.
        warm_up: the share of the training before the θ are used, from 0 to 1.
        branching_lr_multiplier: what the learning rate is multiplied by for the θ, from 0.

    Raises:
        ValueError: if the number of features is not known, or an argument is out of range.

    Example:
        >>> network = LearningToBranch({"click": 1, "rating": 5}, in_features=3, nodes=[1, 2])
        >>> network.tree()
        Tree(parents=[[0, 0]], tasks={'click': 0, 'rating': 0})
    """

    temperature: Tensor
    learned: Tensor

    def __init__(
        self,
        channels: Mapping[str, int],
        backbone: nn.Module | None = None,
        in_features: int | None = None,
        nodes: Sequence[int] = (2, 4),
        hidden: Sequence[int] = (64,),
        tower: Sequence[int] = (32,),
        dropout: float = 0.0,
        temperature: float = 10.0,
        final_temperature: float = 0.5,
        warm_up: float = 0.05,
        branching_lr_multiplier: float = 1.0,
    ) -> None:
        _check_nodes(nodes)
        check_layers("LearningToBranch", hidden, tower, dropout)
        check_number("LearningToBranch", "final_temperature", final_temperature, 1e-6)
        check_number("LearningToBranch", "temperature", temperature, final_temperature)
        check_number("LearningToBranch", "warm_up", warm_up, 0, 1)
        check_number("LearningToBranch", "branching_lr_multiplier", branching_lr_multiplier, 0)
        super().__init__()
        self.temperatures = (temperature, final_temperature)
        self.warm_up = warm_up
        self.branching_lr_multiplier = branching_lr_multiplier
        self.backbone, features = features_of("LearningToBranch", backbone, in_features)
        self.stem = Experts(nodes[0], features, hidden, dropout)
        self.choices = nn.ModuleList(Choice(count, before) for before, count in pairwise(nodes))
        self.layers = nn.ModuleList(
            Nodes(count, hidden[-1], hidden, dropout) for count in nodes[1:]
        )
        self.task_choices = nn.ModuleDict({task: Choice(1, nodes[-1]) for task in channels})
        self.towers = towers(channels, hidden[-1], tower, dropout)
        # Tensors, for a compiled network not to be compiled anew in every epoch.
        self.register_buffer("temperature", torch.tensor(temperature), persistent=False)
        self.register_buffer("learned", torch.tensor(1.0), persistent=False)

    def forward(self, inputs: Float[Tensor, "N ..."]) -> dict[str, Float[Tensor, "N C"]]:
        """The logits of each task, by a tree that is drawn for the batch in training."""
        outputs = self.stem(self.backbone(inputs))
        for choice, layer in zip(self.choices, self.layers, strict=True):
            outputs = layer(choice(outputs, self.temperature, self.learned))
        return {
            task: self.towers[task](choice(outputs, self.temperature, self.learned).squeeze(1))
            for task, choice in self.task_choices.items()
        }

    def tree(self) -> Tree:
        """The tree of the most probable parents, which evaluation uses. Waits for the device."""
        choices: list[Any] = list(self.choices)
        of_tasks: dict[str, Any] = dict(self.task_choices.items())
        return Tree(
            [choice.parents() for choice in choices],
            {task: choice.parents()[0] for task, choice in of_tasks.items()},
        )

    def start_epoch(self, progress: float) -> None:
        """Lower the temperature, and end the warm-up when it is over.

        Args:
            progress: as in `MultiTaskNetwork`.
        """
        start, end = self.temperatures
        self.temperature.fill_(start * (end / start) ** progress)
        self.learned.fill_(float(progress > self.warm_up))

    def lr_multiplier(self, name: str) -> float:
        """`branching_lr_multiplier` for the choices, else 1.

        Args:
            name: of a parameter.
        """
        of_choices = name.startswith(("choices.", "task_choices."))
        return self.branching_lr_multiplier if of_choices else 1.0


def _check_nodes(nodes: Sequence[int]) -> None:
    if not nodes:
        raise ValueError(
            "`LearningToBranch(nodes=)` should have the number of nodes of at least one layer."
            " Found none. Add one, such as 2."
        )
    for count in nodes:
        check_number("LearningToBranch", "nodes", count, 1)
