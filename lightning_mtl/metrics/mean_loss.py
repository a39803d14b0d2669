"""The mean of a loss over a data set."""

from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from lightning_mtl.metrics.pooled import PooledMetric

__all__ = ["MeanLoss"]


class MeanLoss(PooledMetric):
    """The mean of a loss over images: that of each batch, weighted by the size of the batch.

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
    count: Int[Tensor, ""]
    total: Float[Tensor, ""]

    def __init__(self) -> None:
        super().__init__()
        self.add_count("count")
        self.add_sum("total")

    def update(self, loss: Float[Tensor, ""], size: int) -> None:
        """Add the loss of a batch.

        Args:
            loss: a mean over the batch.
            size: the number of its images.
        """
        self.count += size
        self.total += size * loss.detach().to(self.total)

    def values(self) -> dict[str, Tensor]:
        """The mean over all images, called by `compute`."""
        return {} if self.count == 0 else {"loss": self.total / self.count}
