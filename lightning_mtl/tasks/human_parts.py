"""Segmentation of human parts as a task."""

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
    """

    def __init__(
        self,
        num_classes: int = 7,
        name: str = "human_parts",
        ignore_index: int = 255,
        protocol: str = "pooled",
    ) -> None:
        self.task = Segmentation(num_classes, name, ignore_index, protocol)
        self.name = name
        self.out_channels = num_classes
        self.primary_metric = self.task.primary_metric
        self.higher_is_better = self.task.higher_is_better
