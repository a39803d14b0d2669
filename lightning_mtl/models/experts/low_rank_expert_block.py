"""`LowRankExpertBlock`, shared convolutions of low rank from which each task chooses."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["LowRankConv", "LowRankExpertBlock", "Router"]


class LowRankConv(nn.Sequential):
    """A 3 x 3 convolution to `rank` channels and a 1 x 1 convolution back, with nothing between."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__(
            nn.Conv2d(width, rank, 3, padding=1, bias=False),
            nn.Conv2d(rank, width, 1, bias=False),
        )


class Router(nn.Module):
    """The weights of the experts for one task: a softmax over the best, and zero for the others.

    Args:
        width: channels of the map, which is averaged over its pixels.
        experts: how many there are.
        chosen: how many of them have a weight.
    """

    def __init__(self, width: int, experts: int, chosen: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, experts)
        self.chosen = chosen

    def forward(self, features: Float[Tensor, "N C h w"]) -> Float[Tensor, "N E"]:
        """One weight for each image and expert."""
        scores = self.score(features.mean((-2, -1)))
        best, index = scores.topk(self.chosen, -1)
        return torch.zeros_like(scores).scatter(-1, index, best.softmax(-1).to(scores.dtype))


class LowRankExpertBlock(nn.Module):
    """W * x + Σ_e g_te(x) U_e * V_e * x + U_t * V_t * x, then batch norm and ReLU of the task.

    All experts are held in one pair of convolutions, whose inner channels are multiplied by the
    weights of their expert: as the experts are linear, that is the weighted sum of their outputs.
    So all of them are computed, and those that were not chosen have a gradient of zero.

    Args:
        width: channels of the maps.
        tasks: names of the tasks.
        ranks: of the experts.
        chosen: experts of each image and task.
        task_rank: of the convolution of each task.
    """

    expert_of: Tensor

    def __init__(
        self, width: int, tasks: Sequence[str], ranks: Sequence[int], chosen: int, task_rank: int
    ) -> None:
        super().__init__()
        self.generic = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.experts = LowRankConv(width, sum(ranks))
        owner = torch.tensor([expert for expert, rank in enumerate(ranks) for _ in range(rank)])
        self.register_buffer("expert_of", owner, persistent=False)
        self.routers = nn.ModuleDict({task: Router(width, len(ranks), chosen) for task in tasks})
        self.specific = nn.ModuleDict({task: LowRankConv(width, task_rank) for task in tasks})
        self.norms = nn.ModuleDict({task: nn.BatchNorm2d(width) for task in tasks})

    def forward(self, task: str, features: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C h w"]:
        """The next features of one task."""
        narrow, wide = self.experts
        weights = self.routers[task](features)[:, self.expert_of, None, None]
        chosen = wide(narrow(features) * weights)
        joined = self.generic(features) + chosen + self.specific[task](features)
        return self.norms[task](joined).relu()
