"""`MMoE`: experts that all tasks share, and a gate for each task."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.checks import check_number
from lightning_mtl.engine.graph import join_features
from lightning_mtl.models.features.backbone import features_of
from lightning_mtl.models.features.mlp import check_layers, towers
from lightning_mtl.models.mixtures.expert import Experts
from lightning_mtl.models.mixtures.gate import Gate
from lightning_mtl.models.network import MultiTaskNetwork

__all__ = ["MMoE"]


class MMoE(MultiTaskNetwork):
    """Multi-gate mixture of experts: all experts are shared, and each task mixes them in its way.

    For the features x of a sample, n experts f_i, and the tower h^k and the gate g^k of task k:

        y_k = h^k(f^k(x)),  f^k(x) = sum_i g^k(x)_i f_i(x),  g^k(x) = softmax(W_gk x)

    Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
    Mixture-of-Experts", KDD 2018, equations 5 to 7.

    Deviations: the paper's experts and towers have one layer each, with sizes that depend on the
    data; here `hidden` and `tower` say how many and how wide. Its features are the input; here a
    backbone may come first.

    Args:
        channels: outputs by task.
        backbone: maps the input to features `(N, F)`; `None` takes the input as it is.
        in_features: number of features, where `backbone.out_features` does not say it.
        experts: number of experts, from 1: one is hard parameter sharing.
        hidden: widths of an expert's layers, at least one.
        tower: widths of a tower's layers before the logits; none is a linear head.
        dropout: probability of a feature to be zero in training, after each layer.

    Raises:
        ValueError: if the number of features is not known, or an argument is out of range.

    Example:
        >>> import torch
        >>> network = MMoE({"click": 1, "rating": 5}, in_features=3, experts=4)
        >>> {task: tuple(logits.shape) for task, logits in network(torch.rand(2, 3)).items()}
        {'click': (2, 1), 'rating': (2, 5)}
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        backbone: nn.Module | None = None,
        in_features: int | None = None,
        experts: int = 8,
        hidden: Sequence[int] = (64,),
        tower: Sequence[int] = (32,),
        dropout: float = 0.0,
    ) -> None:
        check_number("MMoE", "experts", experts, 1)
        check_layers("MMoE", hidden, tower, dropout)
        super().__init__()
        self.backbone, features = features_of("MMoE", backbone, in_features)
        self.experts = Experts(experts, features, hidden, dropout)
        self.gates = nn.ModuleDict({task: Gate(features, experts) for task in channels})
        self.towers = towers(channels, hidden[-1], tower, dropout)

    def forward(self, inputs: Float[Tensor, "N ..."]) -> dict[str, Float[Tensor, "N C"]]:
        """The logits of each task."""
        features = self.backbone(inputs)
        features, experts = join_features([features, self.experts(features)])
        return {
            task: self.towers[task](gate(features, experts)) for task, gate in self.gates.items()
        }
