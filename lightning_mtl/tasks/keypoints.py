"""Heatmaps of keypoints as a task."""

from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mtl.checks import check_dtype, check_number, check_shape, check_values
from lightning_mtl.losses import masked_squared_error
from lightning_mtl.metrics import KeypointMetrics
from lightning_mtl.metrics.pooled import accumulator_dtype
from lightning_mtl.tasks.colors import Color, class_colors, class_palette
from lightning_mtl.tasks.task import Task

__all__ = ["Keypoints"]


class Keypoints(Task):
    """Where keypoints are, as heatmaps learned by squared error and compared by pixel distance.

    Prediction and target are `(N, J, H, W)`, a target from 0 to 1; a target heatmap of zeros has no
    keypoint and does not count (the heatmaps of Chen et al., "GradNorm", ICML 2018, with their
    squared loss).

    Args:
        num_keypoints: J.
        name: key of the task.
        alpha: how far from the target a keypoint is correct, as a share of the longer image side.
        decode: how a predicted heatmap becomes a position, as in `KeypointMetrics`.
    """

    (primary_metric,) = KeypointMetrics.primary
    higher_is_better = KeypointMetrics.directions[primary_metric]

    def __init__(
        self,
        num_keypoints: int,
        name: str = "keypoints",
        alpha: float = 0.1,
        decode: Literal["argmax", "soft_argmax"] = "argmax",
    ) -> None:
        check_number("Keypoints", "num_keypoints", num_keypoints, 1)
        self.name = name
        self.out_channels = num_keypoints
        self.alpha = alpha
        self.decode = decode
        self.metrics()

    def loss(
        self, prediction: Float[Tensor, "N J H W"], target: Float[Tensor, "N J H W"]
    ) -> Float[Tensor, ""]:
        """The mean squared error of the heatmaps that have a keypoint."""
        return masked_squared_error(prediction, target, self.valid(target))

    def valid(self, target: Float[Tensor, "N J H W"]) -> Bool[Tensor, "N J H W"]:
        """All pixels of the heatmaps that have a keypoint."""
        exists = (target > 0).flatten(2).any(dim=2)
        return exists[:, :, None, None].expand_as(target)

    def metrics(self) -> KeypointMetrics:
        """New keypoint metrics, without any data yet."""
        return KeypointMetrics(self.alpha, self.decode)

    def draw(
        self, prediction: Float[Tensor, "N J H W"], target: Tensor | None = None
    ) -> Float[Tensor, "N 3 H W"]:
        """Each heatmap in a colour of its own; where they overlap, the brighter."""
        return self.draw_target(prediction.float().nan_to_num(0).clamp(0, 1))

    def draw_target(self, target: Float[Tensor, "N J H W"]) -> Float[Tensor, "N 3 H W"]:
        """Each heatmap in a colour of its own; where they overlap, the brighter."""
        colors = class_colors(self.out_channels).to(target.device)
        return (target.float()[:, :, None] * colors[:, :, None, None]).amax(dim=1)

    @property
    def palette(self) -> dict[str, Color]:
        """The colour of each keypoint, by its number."""
        return class_palette(self.out_channels)

    def pixel_sum(self, target: Float[Tensor, "N J H W"]) -> tuple[Tensor, Tensor]:
        """The sums of the heatmaps, and the number of pixels of those that have a keypoint."""
        dtype = accumulator_dtype(target.device)
        total = target.sum(dim=(0, 2, 3), dtype=dtype)
        return total, self.valid(target).sum(dim=(0, 2, 3), dtype=dtype)

    def check_form(self, target: Float[Tensor, "N J H W"]) -> None:
        """Raise unless the target is one floating heatmap per keypoint."""
        check_shape(self.title, "target", target, ("N", self.out_channels, "H", "W"))
        check_dtype(self.title, target, floating=True)

    def check_content(self, target: Float[Tensor, "N J H W"]) -> None:
        """Raise unless the target is heatmaps from 0 to 1."""
        wrong = target[~((target >= 0) & (target <= 1))]
        remedy = "Divide each heatmap by its peak."
        check_values(self.title, "heatmaps from 0 to 1", wrong, remedy)
