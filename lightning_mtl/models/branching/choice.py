"""`Choice`, the choice of a parent for each node of a layer."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Choice"]


class Choice(nn.Module):
    """Gives each child the output of one parent: drawn while it is learned, then the most probable.

    Args:
        children: number of nodes that choose.
        parents: number of nodes that they choose from.
    """

    def __init__(self, children: int, parents: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(children, parents))

    def forward(
        self,
        outputs: Float[Tensor, "N I W"],
        temperature: Float[Tensor, ""],
        learned: Float[Tensor, ""],
    ) -> Float[Tensor, "N J W"]:
        """The input of each child.

        Args:
            outputs: of the parents.
            temperature: of the Gumbel-softmax in training.
            learned: 1, or 0 to draw from all parents alike, whatever has been learned.
        """
        return torch.einsum("ji,niw->njw", self._shares(temperature, learned), outputs)

    def parents(self) -> list[int]:
        """The most probable parent of each child. Waits for the device."""
        return self.logits.argmax(-1).tolist()

    def _shares(self, temperature: Any, learned: Tensor) -> Float[Tensor, "J I"]:
        if self.training:
            return F.gumbel_softmax(self.logits * learned, temperature)
        return F.one_hot(self.logits.argmax(-1), self.logits.shape[-1]).to(self.logits)
