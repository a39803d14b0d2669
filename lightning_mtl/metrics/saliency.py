"""F-score and intersection over union of saliency, at the best threshold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from lightning_mtl.checks import check_number, check_shape
from lightning_mtl.metrics.pooled import PooledMetric, accumulator_dtype
from lightning_mtl.metrics.probability import as_probability
from lightning_mtl.metrics.protocol_lookup import find_protocol

__all__ = ["SaliencyMetrics"]


@dataclass(frozen=True, kw_only=True)
class SaliencyProtocol:
    """One row of the table in `SaliencyMetrics`."""

    thresholds: tuple[float, ...]
    beta_squared: float
    inclusive: bool
    pooled: bool
    primary_metric: str


SURVEY = SaliencyProtocol(
    thresholds=tuple(step / 20 for step in range(4, 19)),
    beta_squared=1,
    inclusive=False,
    pooled=False,
    primary_metric="mIoU",
)
PROTOCOLS = {
    "survey": SURVEY,
    "astmt": SURVEY,
    "atrc": SaliencyProtocol(
        thresholds=tuple(step / 20 for step in range(1, 20)),
        beta_squared=0.3,
        inclusive=True,
        pooled=True,
        primary_metric="maxF",
    ),
}


class SaliencyMetrics(PooledMetric):
    """Best F-score and intersection over union of all thresholds, from 0 to 1.

    With true positives TP, and false ones FP and FN, at each threshold:

        P = TP / (TP + FP),    R = TP / (TP + FN),    IoU = TP / (TP + FP + FN),
        maxF = max_t (1 + beta^2) P R / (beta^2 P + R),    mIoU = max_t IoU.

    P, R and IoU are those of each image, averaged over images, or those of the counts of the data
    set. They are 0 where nothing is predicted or nothing is salient; the IoU of an image without
    either is 1. A prediction of NaN is wrong, whatever the target. The protocols:

    | protocol      | thresholds           | salient is | beta^2 | P, R and IoU  | in tables    |
    |---------------|----------------------|------------|--------|---------------|--------------|
    | survey, astmt | 0.2, 0.25, ..., 0.9  | p > t      | 1      | mean of images| mIoU         |
    | atrc          | 0.05, 0.1, ..., 0.95 | p >= t     | 0.3    | of the counts | maxF         |

    Vandenhende et al., "Multi-Task Learning for Dense Prediction Tasks: A Survey" (TPAMI 2021);
    Maninis et al., "Attentive Single-Tasking of Multiple Tasks" (CVPR 2019); Bruggemann et al.,
    "Exploring Relational Context for Multi-Task Dense Prediction" (ICCV 2021). Published maps have
    8 bits; these here are not rounded.

    Args:
        protocol: whose numbers to compare with.
        thresholds: which to try. By default the protocol's.
        beta_squared: weight of P against R. By default the protocol's.
        pooled: whether to pool counts, or to average over images. By default as the protocol does.
        logits: whether predictions are logits and not probabilities.
        ignore_index: label of pixels without a label.

    Example:
        >>> metrics = SaliencyMetrics()
        >>> metrics.update(torch.tensor([[[0.8, 0.3, 0.1]]]), torch.tensor([[[1.0, 0.0, 0.0]]]))
        >>> metrics.compute()
        {'maxF': tensor(1.), 'mIoU': tensor(1.)}
    """

    directions: ClassVar[dict[str, bool]] = {"maxF": True, "mIoU": True}
    primary = ("mIoU", "maxF")
    images: Int[Tensor, ""]
    counts: Int[Tensor, "3 T"]
    shares: Float[Tensor, "3 T"]

    def __init__(
        self,
        protocol: str = "survey",
        thresholds: Sequence[float] | None = None,
        beta_squared: float | None = None,
        pooled: bool | None = None,
        logits: bool = False,
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        settings = find_protocol("SaliencyMetrics", protocol, PROTOCOLS)
        self.protocol = protocol
        self.thresholds = settings.thresholds if thresholds is None else tuple(thresholds)
        self.beta_squared = settings.beta_squared if beta_squared is None else beta_squared
        self.pooled = settings.pooled if pooled is None else pooled
        self.inclusive = settings.inclusive
        self.primary_metric = settings.primary_metric
        self.logits = logits
        self.ignore_index = ignore_index
        if not self.thresholds:
            raise ValueError(
                "`SaliencyMetrics(thresholds=)` should have at least one threshold. Found none."
            )
        for threshold in self.thresholds:
            check_number("SaliencyMetrics", "thresholds", threshold, 0, 1)
        check_number("SaliencyMetrics", "beta_squared", self.beta_squared, 0)
        self.add_count("images")
        self.add_count("counts", 3, len(self.thresholds))
        self.add_sum("shares", 3, len(self.thresholds))

    def update(
        self,
        prediction: Float[Tensor, "N H W"] | Float[Tensor, "N 1 H W"],
        target: Num[Tensor, "N H W"],
    ) -> None:
        """Count the pixels of a batch.

        Args:
            prediction: probability that a pixel is salient, or its logit if so declared.
            target: salient where at least 0.5; `ignore_index` is invalid.

        Raises:
            ValueError: if a shape does not fit, or probabilities are not from 0 to 1.
        """
        probability = as_probability("SaliencyMetrics", prediction, self.logits)
        check_shape("SaliencyMetrics", "target", target, tuple(probability.shape))
        valid = target != self.ignore_index
        salient = valid & (target >= 0.5)
        undefined = probability.isnan()
        above = torch.ge if self.inclusive else torch.gt
        counts = []
        for threshold in self.thresholds:
            predicted = valid & torch.where(undefined, ~salient, above(probability, threshold))
            hits = (predicted & salient).flatten(1).sum(dim=1)
            false = predicted.flatten(1).sum(dim=1) - hits
            counts.append(torch.stack([hits, false, salient.flatten(1).sum(dim=1) - hits]))
        per_image = torch.stack(counts, dim=-1)
        labelled = valid.flatten(1).any(dim=1)
        self.images += labelled.sum()
        self.counts += per_image.sum(dim=1)
        self.shares += (_shares(per_image) * labelled[:, None]).sum(dim=1)

    def values(self) -> dict[str, Tensor]:
        """The best F-score and the best intersection over union, called by `compute`."""
        if self.images == 0:
            return {}
        precision, recall, iou = _shares(self.counts) if self.pooled else self.shares / self.images
        weighted = self.beta_squared * precision + recall
        score = (1 + self.beta_squared) * precision * recall / _nonzero(weighted)
        return {"maxF": score.amax(), "mIoU": iou.amax()}


def _shares(counts: Int[Tensor, "3 *T"]) -> Float[Tensor, "3 *T"]:
    """Precision, recall and intersection over union."""
    hits, false, missed = counts.to(accumulator_dtype(counts.device))
    union = hits + false + missed
    iou = torch.where(union > 0, hits / _nonzero(union), 1)
    return torch.stack([hits / _nonzero(hits + false), hits / _nonzero(hits + missed), iou])


def _nonzero(divisor: Tensor) -> Tensor:
    return torch.where(divisor > 0, divisor, 1)
