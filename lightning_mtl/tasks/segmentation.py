"""Semantic segmentation of images as a task."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightning_mtl.checks import check_dtype, check_ignored, check_labels, check_shape
from lightning_mtl.losses import cross_entropy, labelled
from lightning_mtl.metrics import SegmentationMetrics, segmentation_metrics
from lightning_mtl.metrics.pooled import PooledMetric, accumulator_dtype, count_bins
from lightning_mtl.tasks.colors import Color, class_colors, class_palette
from lightning_mtl.tasks.task import Task

__all__ = ["Segmentation"]


class Segmentation(Task):
    """One of `num_classes` classes per pixel, learned by cross entropy and compared by mIoU.

    A prediction is `num_classes` logits, a target the class `(N, H, W)`.

    Args:
        num_classes: labels run from 0 to `num_classes - 1`.
        name: key of the task.
        ignore_index: label of pixels without a class.
        protocol: whose metrics, of `lightning_mtl.metrics.protocols`.
    """

    (primary_metric,) = SegmentationMetrics.primary

    def __init__(
        self,
        num_classes: int,
        name: str = "segmentation",
        ignore_index: int = 255,
        protocol: str = "pooled",
    ) -> None:
        check_ignored("Segmentation", num_classes, ignore_index)
        self.name = name
        self.out_channels = num_classes
        self.ignore_index = ignore_index
        self.protocol = protocol
        self.higher_is_better = self.metrics().directions[self.primary_metric]

    def loss(
        self, prediction: Float[Tensor, "N C H W"], target: Int[Tensor, "N H W"]
    ) -> Float[Tensor, ""]:
        """The cross entropy, a mean over labelled pixels."""
        return cross_entropy(prediction, target, self.ignore_index)

    def valid(self, target: Int[Tensor, "N H W"]) -> Bool[Tensor, "N H W"]:
        """The pixels that have a label."""
        return labelled(target, self.ignore_index)

    def metrics(self) -> PooledMetric:
        """New segmentation metrics, without any data yet."""
        return segmentation_metrics(self.out_channels, self.ignore_index, self.protocol)

    def draw(
        self, prediction: Float[Tensor, "N C H W"], target: Int[Tensor, "N H W"] | None = None
    ) -> Float[Tensor, "N 3 H W"]:
        """The colour of the most likely class."""
        return self.draw_target(prediction.max(dim=1).indices)

    def draw_target(self, target: Int[Tensor, "N H W"]) -> Float[Tensor, "N 3 H W"]:
        """The colour of the class, black where it is ignored."""
        colors = class_colors(self.out_channels).to(target.device)
        colors = torch.cat([colors, torch.zeros_like(colors[:1])])
        return colors[self._bins(target)].movedim(-1, 1)

    @property
    def palette(self) -> dict[str, Color]:
        """The colour of each class, by its number."""
        return class_palette(self.out_channels)

    def pixel_sum(self, target: Int[Tensor, "N H W"]) -> tuple[Tensor, Tensor]:
        """How many pixels each class has, and how many there are."""
        counts = count_bins(self._bins(target).flatten(1), self.out_channels + 1)[:-1]
        counts = counts.to(accumulator_dtype(target.device))
        return counts, counts.sum()

    def check_form(self, target: Int[Tensor, "N H W"]) -> None:
        """Raise unless the target is one integer label per pixel."""
        check_shape(self.title, "target", target, ("N", "H", "W"))
        check_dtype(self.title, target, floating=False)

    def check_content(self, target: Int[Tensor, "N H W"]) -> None:
        """Raise unless the labels are classes."""
        check_labels(self.title, target, self.out_channels, self.ignore_index)

    def _bins(self, target: Tensor) -> Tensor:
        """The class, or `num_classes` for a pixel that has none."""
        has_class = self.valid(target) & (target >= 0) & (target < self.out_channels)
        return torch.where(has_class, target.long(), self.out_channels)
