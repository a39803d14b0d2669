"""Structures of all tasks, handed to one of them where they match its own."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["StructureTransfer"]


class StructureTransfer(nn.Module):
    """The local affinities of all tasks, mixed for one task t.

    Σ_k w_k M_k with w_k = α_k cos(M_t, M_k) / Σ_j α_j cos(M_t, M_j)

    At each pixel, the structure of a task counts by how well it matches that of the task t, and by
    a learned weight α, the softmax of one parameter per task, uniform at first. Affinities of a
    pixel that sum to one still do so.

    Args:
        tasks: their number.
    """

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(tasks))

    def forward(
        self, own: Float[Tensor, "N Q h w"], structures: Sequence[Float[Tensor, "N Q h w"]]
    ) -> Float[Tensor, "N Q h w"]:
        """The mixture for the task whose structure is `own`, given those of all tasks."""
        every = torch.stack(list(structures), 1)
        matches = torch.cosine_similarity(own[:, None], every, dim=2)
        shares = self.logits.softmax(0).view(-1, 1, 1) * matches
        shares = shares / shares.sum(1, keepdim=True)
        return (shares[:, :, None] * every).sum(1)
