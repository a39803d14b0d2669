"""Intersection over union and accuracy of semantic segmentation."""

from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_mtl.checks import (
    check_choice,
    check_dtype,
    check_ignored,
    check_labels,
    check_number,
    check_shape,
)
from lightning_mtl.metrics.pooled import PooledMetric, accumulator_dtype, count_bins, on_host

__all__ = ["SegmentationMetrics"]

AbsentClasses = Literal["skip", "zero"]


class SegmentationMetrics(PooledMetric):
    """Mean intersection over union and pixel accuracy, both from 0 to 1.

    From one confusion matrix `M` (target, prediction) over all valid pixels of the data set:

        IoU_c = M_cc / (sum_j M_cj + sum_i M_ic - M_cc),    mIoU = mean_c IoU_c,
        pixel_accuracy = sum_c M_cc / sum_ij M_ij.

    This is the mIoU of the published tables; a mean of IoUs per image is another number.

    A class that occurs neither in the targets nor in the predictions has no IoU. It is left out of
    the mean, or counts 0 with `absent_classes="zero"`, as in Vandenhende et al., "Multi-Task
    Learning for Dense Prediction Tasks: A Survey" (TPAMI 2021).

    A pixel with a NaN among its logits has no predicted class, so it is wrong, whatever its target:
    a network that has diverged scores 0.

    A label outside the classes is an error: in `update` for targets on the host, otherwise, so as
    not to wait for the device, in `compute`.

    Args:
        num_classes: labels run from 0 to `num_classes - 1`.
        ignore_index: label of pixels without a class.
        absent_classes: what a class that never occurs does to the mean.

    Example:
        >>> metrics = SegmentationMetrics(num_classes=2)
        >>> logits = torch.tensor([[[[2.0, 2.0]], [[1.0, 3.0]]]])
        >>> metrics.update(logits, torch.tensor([[[0, 255]]]))
        >>> metrics.compute()
        {'mIoU': tensor(1.), 'pixel_accuracy': tensor(1.)}
    """

    directions: ClassVar[dict[str, bool]] = {"mIoU": True, "pixel_accuracy": True}
    primary = ("mIoU",)
    confusion: Int[Tensor, "C C+1"]
    outside: Int[Tensor, ""]

    def __init__(
        self,
        num_classes: int,
        ignore_index: int = 255,
        absent_classes: AbsentClasses = "skip",
    ) -> None:
        super().__init__()
        check_number("SegmentationMetrics", "num_classes", num_classes, 1)
        check_choice(
            "SegmentationMetrics", "absent_classes", absent_classes, get_args(AbsentClasses)
        )
        check_ignored("SegmentationMetrics", num_classes, ignore_index)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.absent_classes = absent_classes
        # The last column is that of pixels without a predicted class.
        self.add_count("confusion", num_classes, num_classes + 1)
        self.add_count("outside")

    def update(self, logits: Float[Tensor, "N C H W"], target: Int[Tensor, "N H W"]) -> None:
        """Count the pixels of a batch.

        Args:
            logits: scores of the classes; the highest is the prediction, NaN is none.
            target: class of each pixel, or `ignore_index`.

        Raises:
            TypeError: if the target is not of an integer type.
            ValueError: if a shape does not fit, or a label on the host is outside the classes.
        """
        classes = self.num_classes
        check_shape("SegmentationMetrics", "prediction", logits, ("N", classes, "H", "W"))
        check_shape("SegmentationMetrics", "target", target, (logits.shape[0], *logits.shape[2:]))
        check_dtype("SegmentationMetrics", target, floating=False)
        if on_host(target):
            check_labels("SegmentationMetrics", target, classes, self.ignore_index)
        # On a CPU, `argmax` of torch 2.15 takes ten times as long as `max`.
        score, label = logits.max(dim=1)
        cell = target.long() * (classes + 1) + torch.where(score.isnan(), classes, label)
        inside = (target >= 0) & (target < classes)
        cells = self.confusion.numel()
        cell = torch.where(inside, cell, cells)
        cell = torch.where(target == self.ignore_index, cells + 1, cell)
        counts = count_bins(cell.flatten(1), cells + 2)
        self.confusion += counts[:-2].view_as(self.confusion)
        self.outside += counts[-2]

    def values(self) -> dict[str, Tensor]:
        """The mean intersection over union and the pixel accuracy, called by `compute`.

        Raises:
            ValueError: if a target on a device had labels outside the classes.
        """
        if self.outside > 0:
            raise ValueError(
                "The target of `SegmentationMetrics` should have labels from 0 to"
                f" {self.num_classes - 1}, or {self.ignore_index} to ignore a pixel. Found labels"
                f" outside in {int(self.outside)} pixels. Raise `num_classes`, or map these labels"
                f" to {self.ignore_index}."
            )
        total = self.confusion.sum()
        if total == 0:
            return {}
        confusion = self.confusion.to(accumulator_dtype(self.confusion.device))
        hits = confusion.diagonal()
        union = confusion.sum(dim=0)[:-1] + confusion.sum(dim=1) - hits
        present = (union > 0).sum() if self.absent_classes == "skip" else self.num_classes
        return {
            "mIoU": (hits / union.clamp(min=1)).sum() / present,
            "pixel_accuracy": hits.sum() / total,
        }
