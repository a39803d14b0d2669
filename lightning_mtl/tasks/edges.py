"""Maps of edges as a task."""

from collections.abc import Mapping, Sequence
from typing import Any

from torchmetrics import Metric

from lightning_mtl.metrics import EdgeMetrics
from lightning_mtl.tasks.arguments import checked_metrics
from lightning_mtl.tasks.binary_map import BinaryMap
from lightning_mtl.tasks.loss_function import LossFunction

__all__ = ["Edges"]


class Edges(BinaryMap):
    """Where the boundary of something is, learned with a fixed weight and compared by odsF.

    Its metrics take seconds per image. A few thresholds will do to choose a model.

    Args:
        name: key of the task.
        positive_weight: weight of edge pixels in the loss: 0.95 in Vandenhende et al., "Multi-Task
            Learning for Dense Prediction Tasks: A Survey" (TPAMI 2021), 0.8 for NYUD elsewhere.
            None is the share of the other pixels in each micro-batch, see `BinaryMap`.
        ignore_index: label of pixels without a label.
        thresholds: how many, or which, as in `EdgeMetrics`.
        max_dist: largest distance of a match, as a share of the image diagonal. By default the
            protocol's: 0.0075, that of BSDS500 and PASCAL, or 0.011 in "nyud", which is usual for
            the edges of NYUv2.
        protocol: whose metrics, of `lightning_mtl.metrics.edges.edge_protocols`.
        workers: processes that match edges, 0 for none.
        loss: `loss(logits, target)` in place of the balanced cross entropy, both `(N, H, W)`, such
            as `torch.nn.BCEWithLogitsLoss(reduction="none")`; it knows nothing of
            `positive_weight`. Of values for each pixel, the mean over labelled ones is taken; a
            scalar is used as it is. Pixels without a label have target 0 and a logit of -20.
        extra_metrics: metrics of torchmetrics by their names, given probabilities and labels of 0
            and 1 `(M,)` of the labelled pixels.
    """

    (primary_metric,) = EdgeMetrics.primary
    higher_is_better = EdgeMetrics.directions[primary_metric]

    def __init__(
        self,
        name: str = "edges",
        positive_weight: float | None = 0.95,
        ignore_index: int = 255,
        thresholds: int | Sequence[float] = 99,
        max_dist: float | None = None,
        protocol: str = "survey",
        workers: int = 0,
        loss: LossFunction | None = None,
        extra_metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        self.name = name
        self.positive_weight = positive_weight
        self.ignore_index = ignore_index
        self.thresholds = thresholds
        self.max_dist = max_dist
        self.protocol = protocol
        self.workers = workers
        self.given_loss = loss
        self.check_weight()
        self.metrics()
        self.extra_metrics = checked_metrics(self, extra_metrics)

    def metric_target(self, batch: Mapping[str, Any]) -> Any:
        """Every annotator's edges where the data set has them, since odsF is defined over them."""
        return batch.get("annotators", batch[self.name])

    def metrics(self) -> EdgeMetrics:
        """New edge metrics, without any data yet."""
        return EdgeMetrics(
            self.thresholds,
            self.max_dist,
            self.protocol,
            workers=self.workers,
            logits=True,
            ignore_index=self.ignore_index,
        )
