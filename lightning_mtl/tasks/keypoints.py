"""Heatmaps of keypoints as a task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric

from lightning_mtl.checks import check_dtype, check_number, check_shape, check_values
from lightning_mtl.losses import masked_squared_error
from lightning_mtl.metrics import KeypointMetrics
from lightning_mtl.metrics.pooled import accumulator_dtype
from lightning_mtl.tasks.arguments import checked_metrics
from lightning_mtl.tasks.colors import Color, class_colors, class_palette
from lightning_mtl.tasks.files import finite, write_facts
from lightning_mtl.tasks.loss_function import LossFunction, valid_loss
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
        loss: `loss(prediction, target)` in place of the squared error, such as
            `torch.nn.SmoothL1Loss(reduction="none")`. Of values for each pixel, the mean over
            heatmaps with a keypoint is taken; a scalar is used as it is. Other heatmaps are 1 on
            both sides.
        extra_metrics: metrics of torchmetrics by their names, given the values `(M,)` of heatmaps
            with a keypoint.
    """

    (primary_metric,) = KeypointMetrics.primary
    higher_is_better = KeypointMetrics.directions[primary_metric]

    def __init__(
        self,
        num_keypoints: int,
        name: str = "keypoints",
        alpha: float = 0.1,
        decode: Literal["argmax", "soft_argmax"] = "argmax",
        loss: LossFunction | None = None,
        extra_metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        check_number("Keypoints", "num_keypoints", num_keypoints, 1)
        self.name = name
        self.out_channels = num_keypoints
        self.alpha = alpha
        self.decode = decode
        self._loss = loss
        self.metrics()
        self.extra_metrics = checked_metrics(self, extra_metrics)

    def loss(
        self, prediction: Float[Tensor, "N J H W"], target: Float[Tensor, "N J H W"]
    ) -> Float[Tensor, ""]:
        """The mean squared error of the heatmaps that have a keypoint, or that of a given loss."""
        if self._loss is None:
            return masked_squared_error(prediction, target, self.valid(target))
        return valid_loss(self.title, self._loss, prediction, target, self.valid(target))

    def valid(self, target: Float[Tensor, "N J H W"]) -> Bool[Tensor, "N J H W"]:
        """All pixels of the heatmaps that have a keypoint."""
        exists = (target > 0).flatten(2).any(dim=2)
        return exists[:, :, None, None].expand_as(target)

    def metrics(self) -> KeypointMetrics:
        """New keypoint metrics, without any data yet."""
        return KeypointMetrics(self.alpha, self.decode)

    def elements(
        self, prediction: Float[Tensor, "N J H W"], target: Float[Tensor, "N J H W"]
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
        """All pixels of the heatmaps that have a keypoint."""
        valid = self.valid(target)
        return prediction.float()[valid], target.float()[valid]

    def draw(
        self, prediction: Float[Tensor, "N J H W"], target: Tensor | None = None
    ) -> Float[Tensor, "N 3 H W"]:
        """Each heatmap in a colour of its own; where they overlap, the brighter."""
        return self.draw_target(prediction.float().nan_to_num(0).clamp(0, 1))

    def draw_target(self, target: Float[Tensor, "N J H W"]) -> Float[Tensor, "N 3 H W"]:
        """Each heatmap in a colour of its own; where they overlap, the brighter."""
        colors = class_colors(self.out_channels).to(target.device)
        return (target.float()[:, :, None] * colors[:, :, None, None]).amax(dim=1)

    def write(self, prediction: Float[Tensor, "J H W"], path: Path) -> Path:
        """Write column x, row y and score of each keypoint as JSON, in pixels of the image.

        The score is the largest value of the heatmap. Where that is NaN, so is the position, and
        JSON has `null`.

        Args:
            prediction: the heatmaps.
            path: where to, without a suffix.
        """
        scores = prediction.float().flatten(1).amax(dim=1)
        positions = self.metrics().positions(prediction[None])[0]
        facts = [
            {"x": finite(x), "y": finite(y), "score": finite(score)}
            for (y, x), score in zip(positions.tolist(), scores.tolist(), strict=True)
        ]
        return write_facts({"keypoints": facts}, path)

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
