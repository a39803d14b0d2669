"""The adversarial loss by which tasks send indistinguishable gradients to what they share."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lightning_mtl.vectors import unit

__all__ = ["TaskDiscriminator", "reversed_gradient"]


class TaskDiscriminator(nn.Module):
    """Tells from the gradient of a loss at the features, at each pixel, which task it is of.

    Args:
        width: channels of the features.
        tasks: the names of the tasks.
    """

    def __init__(self, width: int, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = list(tasks)
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, len(tasks), 1)
        )

    def loss(
        self,
        task: str,
        loss: Float[Tensor, ""],
        features: Float[Tensor, "N C h w"],
        reversal: float,
    ) -> Float[Tensor, ""]:
        """The cross entropy of the tasks, given the loss of one and the features it depends on.

        It teaches this module to tell the tasks apart and, through a reversed gradient, the network
        to make that impossible.

        Args:
            task: whose loss it is.
            loss: of the task.
            features: what the tasks share.
            reversal: what the reversed gradient is multiplied by, at least 0.
        """
        (gradient,) = torch.autograd.grad(loss, features, create_graph=True)
        directions = reversed_gradient(unit(gradient.float()), reversal)
        logits = self.layers(directions)
        index = logits.new_full((len(logits), *logits.shape[-2:]), self.tasks.index(task))
        return functional.cross_entropy(logits.float(), index.long())


def reversed_gradient(x: Float[Tensor, "*shape"], factor: float) -> Float[Tensor, "*shape"]:
    """The same numbers, whose gradient is multiplied by `-factor` on the way back."""
    return (1 + factor) * x.detach() - factor * x
