"""The mean of another metric's values over images or batches."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_mtl.checks import check_choice
from lightning_mtl.metrics.pooled import PooledMetric

__all__ = ["AveragedMetric"]

Group = Literal["images", "batches"]


class AveragedMetric(PooledMetric):
    """The mean of another metric's values, each taken over one image or over one batch.

    Some papers report it; it is another number than the value over the pixels of the data set. A
    mean over batches depends on how the data set was batched, and the last, smaller batch weighs as
    much as the others. Images or batches without any value are left out.

    Unlike that of other metrics, `update` waits for the device.

    Args:
        metric: what to take the values of.
        over: what each value is taken over.
        names: which values; by default all.

    Example:
        >>> from lightning_mtl.metrics.depth import DepthMetrics
        >>> metrics = AveragedMetric(DepthMetrics(), over="images", names=["RMSE"])
        >>> metrics.update(torch.tensor([[[[2.0]]], [[[5.0]]]]), torch.ones(2, 1, 1, 1))
        >>> metrics.compute()
        {'RMSE': tensor(2.5000)}
    """

    groups: Int[Tensor, ""]
    sums: Float[Tensor, " M"]

    def __init__(
        self,
        metric: PooledMetric,
        over: Group,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        check_choice("AveragedMetric", "over", over, get_args(Group))
        self.names = tuple(metric.directions if names is None else names)
        unknown = set(self.names) - metric.directions.keys()
        if unknown:
            raise ValueError(
                f"`AveragedMetric(names=)` should be names of {list(metric.directions)}."
                f" Found {sorted(unknown)}."
            )
        self.metric = metric
        self.over = over
        # Which values there are depends on the metric and so on the instance.
        self.directions = {  # type: ignore[misc]
            name: metric.directions[name] for name in self.names
        }
        self.add_count("groups")
        self.add_sum("sums", len(self.names))

    def update(self, prediction: Float[Tensor, "N ..."], target: Tensor) -> None:
        """Add the values of each image or of the batch.

        Args:
            prediction: as the metric expects it.
            target: as the metric expects it.

        Raises:
            ValueError: if there are not as many targets as predictions, or the metric says so.
        """
        size = 1 if self.over == "images" else max(1, len(prediction))
        for pair in zip(prediction.split(size), target.split(size), strict=True):
            self.metric.reset()
            self.metric.update(*pair)
            values = self.metric.values()
            if values:
                self.groups += 1
                self.sums += torch.stack([values[name].to(self.sums) for name in self.names])

    def values(self) -> dict[str, Tensor]:
        """The mean of each value over images or batches, called by `compute`."""
        if self.groups == 0:
            return {}
        return dict(zip(self.names, self.sums / self.groups, strict=True))
