"""Accuracy of the classification of images."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_mtl.checks import check_dtype, check_labels, check_shape
from lightning_mtl.metrics.per_image import per_image
from lightning_mtl.metrics.pooled import PooledMetric, accumulator_dtype, on_host

__all__ = ["ClassificationMetrics"]


class ClassificationMetrics(PooledMetric):
    """The share of images whose most likely class is the true one, from 0 to 1.

    An image with a NaN among its scores has no most likely class, so it is wrong.

    A label outside the classes is an error: in `update` for targets on the host, otherwise, so as
    not to wait for the device, in `compute`.

    Args:
        ignore_index: label of images without a class.

    Example:
        >>> metrics = ClassificationMetrics()
        >>> metrics.update(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), torch.tensor([1, 1]))
        >>> metrics.compute()
        {'accuracy': tensor(0.5000)}
    """

    directions: ClassVar[dict[str, bool]] = {"accuracy": True}
    primary = ("accuracy",)
    counts: Int[Tensor, " 2"]
    outside: Int[Tensor, ""]

    def __init__(self, ignore_index: int = 255) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.add_count("counts", 2)
        self.add_count("outside")

    def update(
        self,
        logits: Float[Tensor, "N C"] | Float[Tensor, "N C H W"],
        target: Int[Tensor, " N"],
    ) -> None:
        """Count the images of a batch.

        Args:
            logits: scores of the classes; those of a dense prediction are averaged over the image.
            target: class of each image, or `ignore_index`.

        Raises:
            TypeError: if the target is not of an integer type.
            ValueError: if a shape does not fit, or a label on the host is outside the classes.
        """
        scores = per_image(logits.detach())
        check_shape("ClassificationMetrics", "prediction", scores, ("N", "C"))
        check_shape("ClassificationMetrics", "target", target, (len(scores),))
        check_dtype("ClassificationMetrics", target, floating=False)
        classes = scores.shape[1]
        if on_host(target):
            check_labels("ClassificationMetrics", target, classes, self.ignore_index)
        valid = target != self.ignore_index
        self.outside += (valid & ((target < 0) | (target >= classes))).sum()
        score, label = scores.max(dim=1)
        hits = valid & (label == target) & ~score.isnan()
        self.counts += torch.stack([hits.sum(), valid.sum()])

    def values(self) -> dict[str, Tensor]:
        """The accuracy over all labelled images, called by `compute`.

        Raises:
            ValueError: if a target on a device had labels outside the classes.
        """
        if self.outside > 0:
            raise ValueError(
                "The target of `ClassificationMetrics` should have labels from 0 to one less than"
                f" there are scores, or {self.ignore_index} to ignore an image. Found labels"
                f" outside in {int(self.outside)} images. Raise the number of classes, or map these"
                f" labels to {self.ignore_index}."
            )
        hits, count = self.counts.to(accumulator_dtype(self.counts.device))
        return {"accuracy": hits / count} if count > 0 else {}
