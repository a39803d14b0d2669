"""Semantic segmentation of images as a task."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric

from lightning_mtl.checks import check_dtype, check_ignored, check_labels, check_shape
from lightning_mtl.losses import cross_entropy, labelled, weights_of_labels
from lightning_mtl.metrics import SegmentationMetrics, segmentation_metrics
from lightning_mtl.metrics.pooled import PooledMetric, accumulator_dtype, count_bins
from lightning_mtl.tasks.arguments import check_class_weights, check_names, checked_metrics
from lightning_mtl.tasks.colors import Color, class_colors, class_palette
from lightning_mtl.tasks.files import write_classes
from lightning_mtl.tasks.loss_function import LossFunction, class_loss
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
        class_names: of the classes in their order, for the legend of pictures and for files.
        class_weights: how much a label of each class counts in the cross entropy, which then is the
            weighted mean `sum w l / sum w`; by default all alike.
        loss: `loss(logits, target)` in place of the cross entropy, such as
            `torch.nn.CrossEntropyLoss(reduction="none")`. Of values for each pixel, the mean over
            labelled ones is taken; a scalar is used as it is. Pixels without a class have class 0
            there, and logits that are sure of it.
        extra_metrics: metrics of torchmetrics by their names, given logits `(M, C)` and labels
            `(M,)` of what has a class.
    """

    (primary_metric,) = SegmentationMetrics.primary

    def __init__(
        self,
        num_classes: int,
        name: str = "segmentation",
        ignore_index: int = 255,
        protocol: str = "pooled",
        class_names: Sequence[str] | None = None,
        class_weights: Sequence[float] | None = None,
        loss: LossFunction | None = None,
        extra_metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        check_ignored("Segmentation", num_classes, ignore_index)
        check_names("Segmentation", class_names, num_classes)
        check_class_weights("Segmentation", class_weights, num_classes, loss is not None)
        self.name = name
        self.out_channels = num_classes
        self.ignore_index = ignore_index
        self.protocol = protocol
        self.class_names = None if class_names is None else tuple(class_names)
        self.class_weights = None if class_weights is None else torch.tensor(class_weights).float()
        self._loss = loss
        self.extra_metrics = checked_metrics(self, extra_metrics)
        self.higher_is_better = self.metrics().directions[self.primary_metric]

    def loss(
        self, prediction: Float[Tensor, "N C H W"], target: Int[Tensor, "N H W"]
    ) -> Float[Tensor, ""]:
        """The cross entropy, a mean over labelled pixels, or the mean of a given loss."""
        if self._loss is None:
            return cross_entropy(prediction, target, self.ignore_index, self.class_weights)
        return class_loss(self.title, self._loss, prediction, target, self.valid(target))

    def valid(self, target: Int[Tensor, "N H W"]) -> Bool[Tensor, "N H W"]:
        """The pixels that have a label."""
        return labelled(target, self.ignore_index)

    def count(self, target: Int[Tensor, "N H W"]) -> Float[Tensor, ""] | None:
        """The number of labelled pixels, or the sum of the weights of their classes."""
        if self.class_weights is None:
            return super().count(target)
        return weights_of_labels(target, self.class_weights, self.ignore_index)

    def metrics(self) -> PooledMetric:
        """New segmentation metrics, without any data yet."""
        return segmentation_metrics(self.out_channels, self.ignore_index, self.protocol)

    def elements(
        self, prediction: Float[Tensor, "N C H W"], target: Int[Tensor, "N H W"]
    ) -> tuple[Float[Tensor, "M C"], Int[Tensor, " M"]]:
        """The logits and the labels of the labelled pixels."""
        valid = self.valid(target)
        return prediction.float().movedim(1, -1)[valid], target.long()[valid]

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

    def write(self, prediction: Float[Tensor, "C H W"], path: Path) -> Path:
        """Write the most likely class of each pixel as PNG; the palette has the colours of `draw`.

        Args:
            prediction: the logits.
            path: where to, without a suffix.
        """
        labels = prediction.max(dim=0).indices
        return write_classes(labels, path, class_colors(self.out_channels), self.class_names)

    @property
    def palette(self) -> dict[str, Color]:
        """The colour of each class, by its name or else by its number."""
        return class_palette(self.out_channels, self.class_names)

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
