"""`CGC`: experts that all tasks share beside those of each task."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.checks import check_number
from lightning_mtl.engine.graph import join_features
from lightning_mtl.models.features.backbone import features_of
from lightning_mtl.models.features.mlp import check_layers, towers
from lightning_mtl.models.mixtures.extraction import Extraction
from lightning_mtl.models.network import MultiTaskNetwork

__all__ = ["CGC"]


class CGC(MultiTaskNetwork):
    """Customized gate control: each task mixes its own experts and those that all tasks share.

    For the features x of a sample, the m own experts E_{k,i} of task k, the s shared ones E_{s,i},
    and the tower t^k:

        y^k = t^k(g^k(x)),  g^k(x) = w^k(x) S^k(x),  w^k(x) = softmax(W_g^k x)
        S^k(x) = [E_{k,1}(x), ..., E_{k,m}(x), E_{s,1}(x), ..., E_{s,s}(x)]

    Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for
    Personalized Recommendations", RecSys 2020, section 4.1.

    Deviations: a backbone may come first, and all tasks have the same number of experts.

    Args:
        channels: outputs by task.
        backbone: maps the input to features `(N, F)`; `None` takes the input as it is.
        in_features: number of features, where `backbone.out_features` does not say it.
        shared_experts: number of experts that all tasks share; without any, tasks share the
            backbone only.
        task_experts: number of each task's own experts, from 1.
        hidden: widths of an expert's layers, at least one.
        tower: widths of a tower's layers before the logits; none is a linear head.
        dropout: probability of a feature to be zero in training, after each layer.

    Raises:
        ValueError: if the number of features is not known, or an argument is out of range.

    Example:
        >>> import torch
        >>> network = CGC({"click": 1, "rating": 5}, in_features=3)
        >>> {task: tuple(logits.shape) for task, logits in network(torch.rand(2, 3)).items()}
        {'click': (2, 1), 'rating': (2, 5)}
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        backbone: nn.Module | None = None,
        in_features: int | None = None,
        shared_experts: int = 2,
        task_experts: int = 2,
        hidden: Sequence[int] = (64,),
        tower: Sequence[int] = (32,),
        dropout: float = 0.0,
    ) -> None:
        check_number("CGC", "shared_experts", shared_experts, 0)
        check_number("CGC", "task_experts", task_experts, 1)
        check_layers("CGC", hidden, tower, dropout)
        super().__init__()
        self.backbone, features = features_of("CGC", backbone, in_features)
        self.level = Extraction(channels, features, shared_experts, task_experts, hidden, dropout)
        self.towers = towers(channels, hidden[-1], tower, dropout)

    def forward(self, inputs: Float[Tensor, "N ..."]) -> dict[str, Float[Tensor, "N C"]]:
        """The logits of each task."""
        features = self.backbone(inputs)
        features, shared = join_features([features, self.level.shared(features)])
        return {
            task: tower(self.level.mix(task, features, self.level.own[task](features), shared))
            for task, tower in self.towers.items()
        }
