"""Maps of saliency as a task."""

from collections.abc import Mapping

from torchmetrics import Metric

from lightning_mtl.metrics import SaliencyMetrics
from lightning_mtl.tasks.arguments import checked_metrics
from lightning_mtl.tasks.binary_map import BinaryMap
from lightning_mtl.tasks.loss_function import LossFunction

__all__ = ["Saliency"]


class Saliency(BinaryMap):
    """What draws the eye, learned by balanced cross entropy.

    Compared by mIoU, or under the protocol "atrc" by maxF, as the papers do.

    Args:
        name: key of the task.
        positive_weight: weight of salient pixels in the loss. By default the share of pixels of the
            batch that are not (Vandenhende et al., "Multi-Task Learning for Dense Prediction Tasks:
            A Survey", TPAMI 2021). Accumulated micro-batches and ranks each have their own share:
            set a number if two halves should give exactly what one batch gives.
        ignore_index: label of pixels without a label.
        protocol: whose metrics, of the table in `SaliencyMetrics`.
        loss: `loss(logits, target)` in place of the balanced cross entropy, both `(N, H, W)`, such
            as `torch.nn.BCEWithLogitsLoss(reduction="none")`; it knows nothing of
            `positive_weight`. Of values for each pixel, the mean over labelled ones is taken; a
            scalar is used as it is. Pixels without a label have target 0 and a logit of -20.
        extra_metrics: metrics of torchmetrics by their names, given probabilities and labels of 0
            and 1 `(M,)` of the labelled pixels.
    """

    def __init__(
        self,
        name: str = "saliency",
        positive_weight: float | None = None,
        ignore_index: int = 255,
        protocol: str = "survey",
        loss: LossFunction | None = None,
        extra_metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        self.name = name
        self.positive_weight = positive_weight
        self.ignore_index = ignore_index
        self.protocol = protocol
        self.given_loss = loss
        self.check_weight()
        self.extra_metrics = checked_metrics(self, extra_metrics)
        self.primary_metric = self.metrics().primary_metric
        self.higher_is_better = SaliencyMetrics.directions[self.primary_metric]

    def metrics(self) -> SaliencyMetrics:
        """New saliency metrics, without any data yet."""
        return SaliencyMetrics(self.protocol, logits=True, ignore_index=self.ignore_index)
