"""The mean of a loss over a data set."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.metrics.pooled import PooledMetric

__all__ = ["MeanLoss"]


class MeanLoss(PooledMetric):
    """The mean of a loss over the labels of a data set: batches weigh as much as they have labels.

    `torchmetrics.MeanMetric` waits for the device in every update to look for NaN, ignores the
    weights if told not to look (1.9), and rounds its sums where a module is moved to bfloat16.

    Example:
        >>> import torch
        >>> metric = MeanLoss()
        >>> metric.update(torch.tensor(1.0), 3)
        >>> metric.update(torch.tensor(5.0), 1)
        >>> metric.compute()
        {'loss': tensor(2.)}
    """

    directions: ClassVar[dict[str, bool]] = {"loss": False}
    count: Float[Tensor, ""]
    total: Float[Tensor, ""]

    def __init__(self) -> None:
        super().__init__()
        self.add_sum("count")
        self.add_sum("total")

    def update(self, loss: Float[Tensor, ""], count: Float[Tensor, ""] | float) -> None:
        """Add the loss of a batch.

        Args:
            loss: a mean over the batch.
            count: the number of its labels, or of its images if all have as many labels.
        """
        self.count += count
        self.total += count * loss.detach().to(self.total)

    def values(self) -> dict[str, Tensor]:
        """The mean over all labels, called by `compute`; none if there were no labels."""
        return {} if self.count == 0 else {"loss": self.total / self.count}
