"""`Experts`, the multi-layer perceptrons that a mixture is made of."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.models.features.mlp import mlp

__all__ = ["Experts"]


class Experts(nn.Module):
    """Several multi-layer perceptrons of one shape, all on the same features.

    Args:
        count: number of experts; with 0 there is nothing to mix.
        in_features: features that they take.
        hidden: widths of their layers; the last one is what they return.
        dropout: probability of a feature to be zero in training, after each layer.

    Example:
        >>> Experts(3, in_features=5, hidden=[8, 4])(torch.rand(2, 5)).shape
        torch.Size([2, 3, 4])
    """

    def __init__(
        self, count: int, in_features: int, hidden: Sequence[int], dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.out_features = hidden[-1]
        self.experts = nn.ModuleList(mlp(in_features, hidden, dropout) for _ in range(count))

    def forward(self, features: Float[Tensor, "N F"]) -> Float[Tensor, "N E W"]:
        """What each expert makes of the features."""
        if not len(self.experts):
            return features.new_empty(features.shape[0], 0, self.out_features)
        return torch.stack([expert(features) for expert in self.experts], dim=1)
