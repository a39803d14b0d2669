"""Disparity (inverse depth) maps as a task."""

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.tasks.depth import Depth
from lightning_mtl.tasks.words import range_words
from lightning_mtl.tasks.wrapped import WrappedTask

__all__ = ["Disparity"]


class Disparity(WrappedTask):
    """Inverse depth, learned and compared by absolute error.

    Prediction and target are `(N, 1, H, W)` in any unit, pixels or 1/m; a target of 0 is invalid.
    Metrics are those of depth in that unit; bright is near (Cityscapes in Liu et al., "End-to-End
    Multi-Task Learning with Attention", CVPR 2019).

    Args:
        name: key of the task.
        protocol: whose metrics, of `lightning_mtl.metrics.protocols`: one that has `abs_err`.
    """

    out_channels = 1
    primary_metric = "abs_err"

    def __init__(self, name: str = "disparity", protocol: str = "pooled") -> None:
        self.task = Depth(name, protocol)
        self.name = name
        directions = self.task.metrics().directions
        if self.primary_metric not in directions:
            raise ValueError(
                f"`Disparity(protocol=)` should be one with `abs_err`. Found {protocol!r}, which"
                f" has {sorted(directions)}."
            )
        self.higher_is_better = directions[self.primary_metric]

    def target_words(self, target: Float[Tensor, "N 1 H W"]) -> list[str]:
        """The range of valid disparities, which the colours span; their unit is unknown."""
        return range_words(target)
