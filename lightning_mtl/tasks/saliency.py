"""Maps of saliency as a task."""

from lightning_mtl.metrics import SaliencyMetrics
from lightning_mtl.tasks.binary_map import BinaryMap

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
    """

    def __init__(
        self,
        name: str = "saliency",
        positive_weight: float | None = None,
        ignore_index: int = 255,
        protocol: str = "survey",
    ) -> None:
        self.name = name
        self.positive_weight = positive_weight
        self.ignore_index = ignore_index
        self.protocol = protocol
        self.check_weight()
        self.primary_metric = self.metrics().primary_metric
        self.higher_is_better = SaliencyMetrics.directions[self.primary_metric]

    def metrics(self) -> SaliencyMetrics:
        """New saliency metrics, without any data yet."""
        return SaliencyMetrics(self.protocol, logits=True, ignore_index=self.ignore_index)
