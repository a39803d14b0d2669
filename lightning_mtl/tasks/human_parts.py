"""Segmentation of human parts as a task."""

from collections.abc import Mapping, Sequence

from torchmetrics import Metric

from lightning_mtl.tasks.arguments import check_class_weights, check_names, checked_metrics
from lightning_mtl.tasks.loss_function import LossFunction
from lightning_mtl.tasks.segmentation import Segmentation
from lightning_mtl.tasks.wrapped import WrappedTask

__all__ = ["HumanParts"]


class HumanParts(WrappedTask):
    """Segmentation of people into parts, compared by mIoU.

    PASCAL-Context with the labels of PASCAL-Part: background, head, torso, upper and lower arms,
    upper and lower legs. Images without people are ignored as a whole, not background (Vandenhende
    et al., "Multi-Task Learning for Dense Prediction Tasks: A Survey", TPAMI 2021).

    Args:
        num_classes: parts and the background.
        name: key of the task.
        ignore_index: label of pixels without a class.
        protocol: whose metrics, of `lightning_mtl.metrics.protocols`.
        class_names: of the parts, as in `Segmentation`.
        class_weights: of the parts in the cross entropy, as in `Segmentation`.
        loss: `loss(logits, target)` in place of the cross entropy, as in `Segmentation`.
        extra_metrics: metrics of torchmetrics by their names, as in `Segmentation`.
    """

    def __init__(
        self,
        num_classes: int = 7,
        name: str = "human_parts",
        ignore_index: int = 255,
        protocol: str = "pooled",
        class_names: Sequence[str] | None = None,
        class_weights: Sequence[float] | None = None,
        loss: LossFunction | None = None,
        extra_metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        check_names("HumanParts", class_names, num_classes)
        check_class_weights("HumanParts", class_weights, num_classes, loss is not None)
        self.task = Segmentation(
            num_classes, name, ignore_index, protocol, class_names, class_weights, loss
        )
        self.name = name
        self.extra_metrics = checked_metrics(self, extra_metrics)
        self.out_channels = num_classes
        self.primary_metric = self.task.primary_metric
        self.higher_is_better = self.task.higher_is_better
