"""The task-attentional module of joint task-recursive learning."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.models.blocks import conv_norm_relu
from lightning_mtl.models.dense_network import resized

__all__ = ["TaskAttention"]


class TaskAttention(nn.Module):
    """The next state of a task, from its previous one, the other task's latest and the encoder.

    B = σ(conv([f_a, f_b])),  f = conv([B ⊙ f_a, (1 − B) ⊙ f_b]),  g = (1 + σ(A(f))) ⊙ f

    balances the task's own state f_a with that of the other, f_b, and attends to the fusion f. A
    last convolution joins g with the features of the encoder.

    Args:
        width: channels of the states and of the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.balance = nn.Conv2d(2 * width, width, 3, padding=1)
        self.fusion = conv_norm_relu(2 * width, width, 3)
        self.attention = nn.Sequential(
            conv_norm_relu(width, width, 3), nn.Conv2d(width, width, 1), nn.Sigmoid()
        )
        self.output = conv_norm_relu(2 * width, width, 3)

    def forward(
        self,
        own: Float[Tensor, "N C _ _"],
        other: Float[Tensor, "N C _ _"],
        skip: Float[Tensor, "N C h w"],
    ) -> Float[Tensor, "N C h w"]:
        """The next state, at the size of the features of the encoder."""
        own, other = (resized(state, skip.shape[-2:]) for state in (own, other))
        balance = torch.sigmoid(self.balance(torch.cat([own, other], 1)))
        fused = self.fusion(torch.cat([balance * own, (1 - balance) * other], 1))
        attended = (1 + self.attention(fused)) * fused
        return self.output(torch.cat([attended, skip], 1))
