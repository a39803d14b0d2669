"""Accuracy of the classification of images."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_mtl.checks import check_shape
from lightning_mtl.metrics.per_image import per_image
from lightning_mtl.metrics.pooled import PooledMetric, accumulator_dtype

__all__ = ["ClassificationMetrics"]


class ClassificationMetrics(PooledMetric):
    """The share of images whose most likely class is the true one, from 0 to 1.

    An image with a NaN among its scores has no most likely class, so it is wrong.

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

    def __init__(self, ignore_index: int = 255) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.add_count("counts", 2)

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
            ValueError: if a shape does not fit.
        """
        scores = per_image(logits.detach())
        check_shape("ClassificationMetrics", "prediction", scores, ("N", "C"))
        check_shape("ClassificationMetrics", "target", target, (len(scores),))
        valid = target != self.ignore_index
        score, label = scores.max(dim=1)
        hits = valid & (label == target) & ~score.isnan()
        self.counts += torch.stack([hits.sum(), valid.sum()])

    def values(self) -> dict[str, Tensor]:
        """The accuracy over all labelled images, called by `compute`."""
        hits, count = self.counts.to(accumulator_dtype(self.counts.device))
        return {"accuracy": hits / count} if count > 0 else {}
