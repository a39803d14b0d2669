"""Error and F-score of binary attributes of images."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from lightning_mtl.checks import check_number, check_shape, check_values
from lightning_mtl.metrics.per_image import per_image
from lightning_mtl.metrics.pooled import PooledMetric, accumulator_dtype, on_host

__all__ = ["AttributeMetrics"]


class AttributeMetrics(PooledMetric):
    """Error and F-score of binary attributes, from 0 to 1, each averaged over attributes.

    With the counts of each attribute over the data set, predicted where the logit is above 0:

        error_a = (FP + FN) / (TP + FP + FN + TN),    F_a = 2 TP / (2 TP + FP + FN),
        error = mean_a error_a,    F = mean_a F_a.

    The error is that of CelebA's tables, printed times 100 (Sener and Koltun, "Multi-Task Learning
    as Multi-Objective Optimization", NeurIPS 2018). An attribute without a label has no error, and
    one that is neither true nor predicted anywhere has no F-score; both are left out of the mean.
    Where that holds for all, F is 0. A prediction of NaN is wrong, whatever the label.

    A label that is neither known nor ignored, such as 7 or NaN, is an error: in `update` for
    targets on the host, otherwise, so as not to wait for the device, in `compute`.

    Args:
        num_attributes: how many there are.
        ignore_index: label of an attribute that is not known.

    Example:
        >>> metrics = AttributeMetrics(2)
        >>> metrics.update(torch.tensor([[3.0, -1.0]]), torch.tensor([[1.0, 1.0]]))
        >>> metrics.compute()
        {'error': tensor(0.5000), 'F': tensor(0.5000)}
    """

    directions: ClassVar[dict[str, bool]] = {"error": False, "F": True}
    primary = ("error",)
    confusion: Int[Tensor, "4 A"]
    outside: Int[Tensor, ""]

    def __init__(self, num_attributes: int, ignore_index: int = 255) -> None:
        super().__init__()
        check_number("AttributeMetrics", "num_attributes", num_attributes, 1)
        self.num_attributes = num_attributes
        self.ignore_index = ignore_index
        self.add_count("confusion", 4, num_attributes)
        self.add_count("outside")

    def update(
        self,
        logits: Float[Tensor, "N A"] | Float[Tensor, "N A H W"],
        target: Num[Tensor, "N A"],
    ) -> None:
        """Count the attributes of a batch.

        Args:
            logits: true where above 0; those of a dense prediction are averaged over the image.
            target: from 0 to 1, true where at least 0.5; `ignore_index` is unknown.

        Raises:
            ValueError: if a shape does not fit, or a label on the host is none.
        """
        scores = per_image(logits.detach())
        check_shape("AttributeMetrics", "prediction", scores, ("N", self.num_attributes))
        check_shape("AttributeMetrics", "target", target, tuple(scores.shape))
        labelled, true = target != self.ignore_index, target >= 0.5
        # Not `(target < 0) | (target > 1)`, which a NaN passes.
        wrong = labelled & ~((target >= 0) & (target <= 1))
        if on_host(target):
            expected = f"labels from 0 to 1, or {self.ignore_index} if unknown"
            check_values("AttributeMetrics", expected, target[wrong], "Set them to one of these.")
        self.outside += wrong.sum()
        predicted = torch.where(scores.isnan(), ~true, scores > 0)
        cells = (true & predicted, ~true & predicted, true & ~predicted, ~true & ~predicted)
        self.confusion += torch.stack([(labelled & cell).sum(dim=0) for cell in cells])

    def values(self) -> dict[str, Tensor]:
        """The mean error and the mean F-score, called by `compute`.

        Raises:
            ValueError: if a target on a device had labels that are none.
        """
        if self.outside > 0:
            raise ValueError(
                "The target of `AttributeMetrics` should have labels from 0 to 1, or"
                f" {self.ignore_index} if unknown. Found {int(self.outside)} others. Set them to"
                " one of these."
            )
        if not self.confusion.any():
            return {}
        counts = self.confusion.to(accumulator_dtype(self.confusion.device))
        hits, false, missed, _ = counts
        return {
            "error": _mean(false + missed, counts.sum(dim=0)),
            "F": _mean(2 * hits, 2 * hits + false + missed),
        }


def _mean(counts: Float[Tensor, " A"], totals: Float[Tensor, " A"]) -> Float[Tensor, ""]:
    """The mean of `counts / totals` over the attributes whose total is not 0."""
    return (counts / totals.clamp(min=1)).sum() / (totals > 0).sum().clamp(min=1)
