"""`Gate`, the softmax gate of a mixture."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Gate", "mixture"]


class Gate(nn.Module):
    """Mixes experts by weights that depend on the sample and add up to one, softmax(W x).

    Args:
        in_features: features by which it decides.
        experts: number of experts.
    """

    def __init__(self, in_features: int, experts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, experts, bias=False)

    def weights(self, features: Float[Tensor, "N F"]) -> Float[Tensor, "N E"]:
        """The weight of each expert for each sample."""
        return self.linear(features).softmax(-1)

    def forward(
        self, features: Float[Tensor, "N F"], experts: Float[Tensor, "N E W"]
    ) -> Float[Tensor, "N W"]:
        """The mixture of what the experts return, by the weights that the features decide."""
        return mixture(self.weights(features), experts)


def mixture(weights: Float[Tensor, "N E"], experts: Float[Tensor, "N E W"]) -> Float[Tensor, "N W"]:
    """The weighted sum of what the experts return."""
    return torch.einsum("ne,new->nw", weights, experts)
