"""`Nodes`, a layer of nodes that each have an input of their own."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.models.features.mlp import mlp

__all__ = ["Nodes"]


class Nodes(nn.Module):
    """Multi-layer perceptrons of one shape, one for each input.

    Args:
        count: number of nodes.
        in_features: features of each input.
        hidden: widths of their layers; the last one is what they return.
        dropout: probability of a feature to be zero in training, after each layer.
    """

    def __init__(self, count: int, in_features: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.nodes = nn.ModuleList(mlp(in_features, hidden, dropout) for _ in range(count))

    def forward(self, inputs: Float[Tensor, "N J F"]) -> Float[Tensor, "N J W"]:
        """What each node makes of its input."""
        pairs = zip(self.nodes, inputs.unbind(1), strict=True)
        return torch.stack([node(features) for node, features in pairs], dim=1)
