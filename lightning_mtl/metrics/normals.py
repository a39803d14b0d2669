"""Angles between surface normals, pooled over the pixels of a data set."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_mtl.checks import check_shape
from lightning_mtl.metrics.pooled import PooledMetric, count_bins
from lightning_mtl.vectors import has_length, length, unit

__all__ = ["NormalMetrics"]

THRESHOLDS = (11.25, 22.5, 30.0)
BINS_PER_DEGREE = 100
NUM_BINS = 180 * BINS_PER_DEGREE


class NormalMetrics(PooledMetric):
    """Angles between predicted and true normals, in degrees, and the shares of small ones.

    Over the pixels of the data set whose target has a length, with unit vectors `a` and `b`:

        angle = 2 atan2(|a - b|, |a + b|),    RMSE = sqrt(mean angle^2),
        within_t = mean [angle < t],  t = 11.25, 22.5, 30 degrees.

    Shares are from 0 to 1, as all shares here; published tables print them times 100.
    The median comes from a histogram with bins of 0.01 degrees, and is off by at most 0.005.
    A prediction of zero length is 90 degrees away from everything.

    The pooled statistics are those of Vandenhende et al., "Multi-Task Learning for Dense
    Prediction Tasks: A Survey" (TPAMI 2021); a mean of the medians of batches is another number.

    Example:
        >>> metrics = NormalMetrics()
        >>> prediction = torch.tensor([0.0, 2.0, -2.0]).view(1, 3, 1, 1)
        >>> metrics.update(prediction, torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1))
        >>> metrics.compute()["mean"]
        tensor(45.)
    """

    directions: ClassVar[dict[str, bool]] = {
        "mean": False,
        "median": False,
        "RMSE": False,
        "within_11.25": True,
        "within_22.5": True,
        "within_30": True,
    }
    primary = ("mean",)
    count: Int[Tensor, ""]
    angles: Float[Tensor, " 2"]
    within: Int[Tensor, " 3"]
    histogram: Int[Tensor, " B"]

    def __init__(self) -> None:
        super().__init__()
        self.add_count("count")
        self.add_sum("angles", 2)
        self.add_count("within", len(THRESHOLDS))
        self.add_count("histogram", NUM_BINS)

    def update(
        self, prediction: Float[Tensor, "N 3 H W"], target: Float[Tensor, "N 3 H W"]
    ) -> None:
        """Add the angles of a batch.

        Args:
            prediction: vectors of any length.
            target: vectors of any length; one of zero length is invalid.

        Raises:
            ValueError: if a shape does not fit.
        """
        check_shape("NormalMetrics", "prediction", prediction, ("N", 3, "H", "W"))
        check_shape("NormalMetrics", "target", target, tuple(prediction.shape))
        valid = has_length(target)
        predicted, true = unit(prediction.detach()), unit(target)
        # The arc cosine of a scalar product loses half its digits at small angles.
        half = torch.atan2(length(predicted - true), length(predicted + true))
        angle = torch.where(valid, torch.rad2deg(2 * half), 0)
        sums = (angle.sum(dtype=self.angles.dtype), angle.square().sum(dtype=self.angles.dtype))
        # A prediction of NaN shows in the mean; for the order of angles it is as wrong as can be.
        index = (angle.nan_to_num(180) * BINS_PER_DEGREE).long().clamp(max=NUM_BINS - 1)
        index = torch.where(valid, index, NUM_BINS)
        self.count += valid.sum()
        self.angles += torch.stack(sums)
        self.within += torch.stack([((angle < limit) & valid).sum() for limit in THRESHOLDS])
        self.histogram += count_bins(index.flatten(1), NUM_BINS + 1)[:-1]

    def values(self) -> dict[str, Tensor]:
        """The angles and the shares below thresholds, called by `compute`."""
        if self.count == 0:
            return {}
        mean, mean_square = self.angles / self.count
        shares = self.within.to(self.angles) / self.count
        names = [f"within_{limit:g}" for limit in THRESHOLDS]
        return {
            "mean": mean,
            "median": self._median(),
            "RMSE": mean_square.sqrt(),
            **dict(zip(names, shares, strict=True)),
        }

    def _median(self) -> Float[Tensor, ""]:
        # As for any sample of even size, the mean of the two angles in the middle.
        ranks = torch.stack([(self.count - 1) // 2, self.count // 2])
        bins = torch.searchsorted(self.histogram.cumsum(dim=0), ranks, right=True)
        return ((bins.to(self.angles) + 0.5) / BINS_PER_DEGREE).mean()
