"""Depth maps as a task, in metres."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mtl.checks import check_dtype, check_shape, check_values
from lightning_mtl.losses import masked_l1
from lightning_mtl.metrics import DepthMetrics, depth_metrics
from lightning_mtl.metrics.pooled import PooledMetric, accumulator_dtype
from lightning_mtl.tasks.colors import colorize
from lightning_mtl.tasks.task import Task
from lightning_mtl.tasks.words import range_words

__all__ = ["Depth"]


class Depth(Task):
    """Depth along the optical axis, learned by absolute error and compared by RMSE.

    Under the protocol "mtan", which has no RMSE, it is compared by absolute error.

    Prediction and target are `(N, 1, H, W)` in metres; a target of 0 is invalid.

    Args:
        name: key of the task.
        protocol: whose metrics, of `lightning_mtl.metrics.protocols`.
    """

    out_channels = 1

    def __init__(self, name: str = "depth", protocol: str = "pooled") -> None:
        self.name = name
        self.protocol = protocol
        directions = depth_metrics(protocol).directions
        self.primary_metric = next(name for name in DepthMetrics.primary if name in directions)
        self.higher_is_better = directions[self.primary_metric]

    def loss(
        self, prediction: Float[Tensor, "N 1 H W"], target: Float[Tensor, "N 1 H W"]
    ) -> Float[Tensor, ""]:
        """The mean absolute error in metres over valid pixels."""
        return masked_l1(prediction, target, self.valid(target))

    def valid(self, target: Float[Tensor, "N 1 H W"]) -> Bool[Tensor, "N 1 H W"]:
        """The pixels whose depth is positive."""
        return target > 0

    def metrics(self) -> PooledMetric:
        """New depth metrics, without any data yet."""
        return depth_metrics(self.protocol)

    def draw(
        self, prediction: Float[Tensor, "N 1 H W"], target: Float[Tensor, "N 1 H W"] | None = None
    ) -> Float[Tensor, "N 3 H W"]:
        """Dark is near, bright is far, over the range of the target, else of the prediction."""
        return _colored(prediction.float(), prediction if target is None else target)

    def draw_target(self, target: Float[Tensor, "N 1 H W"]) -> Float[Tensor, "N 3 H W"]:
        """Dark is near, bright is far, over the range of the target; black is invalid."""
        return torch.where(self.valid(target), _colored(target.float(), target), 0)

    def target_words(self, target: Float[Tensor, "N 1 H W"]) -> list[str]:
        """The range of valid depths in metres, which the colours span."""
        return [f"{words} m" if words else "" for words in range_words(target)]

    def pixel_sum(self, target: Float[Tensor, "N 1 H W"]) -> tuple[Tensor, Tensor]:
        """The sum of valid depths, and how many there are."""
        dtype = accumulator_dtype(target.device)
        valid = self.valid(target)
        total = torch.where(valid, target, 0).sum(dtype=dtype)
        return total.view(1), valid.sum(dtype=dtype)

    def check_form(self, target: Float[Tensor, "N 1 H W"]) -> None:
        """Raise unless the target is one floating number per pixel."""
        check_shape(self.title, "target", target, ("N", 1, "H", "W"))
        check_dtype(self.title, target, floating=True)

    def check_content(self, target: Float[Tensor, "N 1 H W"]) -> None:
        """Raise unless the target is finite and at least 0."""
        wrong = target[~(target.isfinite() & (target >= 0))]
        expected = "finite depths in metres, 0 where unknown"
        check_values(self.title, expected, wrong, "Set them to 0.")


def _colored(depth: Tensor, reference: Tensor) -> Tensor:
    """Colours of depths over the range of the positive values of each reference image."""
    positive = reference > 0
    low = torch.where(positive, reference, torch.inf).amin(dim=(1, 2, 3), keepdim=True)
    high = torch.where(positive, reference, -torch.inf).amax(dim=(1, 2, 3), keepdim=True)
    return colorize(((depth - low) / (high - low).clamp(min=1e-3))[:, 0])
