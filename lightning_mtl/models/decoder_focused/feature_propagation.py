"""The feature propagation module of MTI-Net."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from lightning_mtl.models.blocks import basic_block

__all__ = ["FeaturePropagation", "Softmax", "across_channels", "across_tasks"]

Softmax = Literal["tasks", "channels"]


class FeaturePropagation(nn.Module):
    """What all tasks have found at one scale, for each task at the next larger scale.

    S = block(A ⊙ [F_1, ..., F_T]) and F_t + SE_t(S): a mask A over tasks, computed from all
    features, selects from them; squeeze-and-excitation selects the channels for each task.

    Args:
        tasks: names of the tasks.
        width: channels of the features of each task.
        softmax: what the masks are normalised across: "tasks", or "channels", groups of as many
            channels of one task as there are tasks.
    """

    def __init__(self, tasks: Sequence[str], width: int, softmax: Softmax) -> None:
        super().__init__()
        joint = len(tasks) * width
        self.normalise = across_tasks if softmax == "tasks" else across_channels
        self.masks = nn.Sequential(
            basic_block(joint, joint // 4),
            basic_block(joint // 4, joint // 4),
            nn.Conv2d(joint // 4, joint, 1),
        )
        self.mixture = basic_block(joint, width)
        self.excitation = nn.ModuleDict(
            {task: SqueezeExcitation(width, max(width // 16, 1)) for task in tasks}
        )

    def forward(
        self, features: Mapping[str, Float[Tensor, "N C h w"]]
    ) -> dict[str, Float[Tensor, "N C h w"]]:
        """The features of each task, and what it takes from those of all."""
        joint = torch.cat([features[task] for task in self.excitation], 1)
        masks = self.normalise(self.masks(joint), len(self.excitation))
        mixture = self.mixture(masks * joint)
        return {task: features[task] + excite(mixture) for task, excite in self.excitation.items()}


def across_tasks(masks: Float[Tensor, "N TC h w"], tasks: int) -> Float[Tensor, "N TC h w"]:
    """Masks that sum to one over the tasks, for each of their channels."""
    return masks.unflatten(1, (tasks, -1)).softmax(1).flatten(1, 2)


def across_channels(masks: Float[Tensor, "N TC h w"], tasks: int) -> Float[Tensor, "N TC h w"]:
    """Masks that sum to one over each group of as many adjacent channels as there are tasks."""
    return masks.unflatten(1, (-1, tasks)).softmax(2).flatten(1, 2)
