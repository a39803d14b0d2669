"""Errors of depth maps, pooled over the pixels of a data set."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_mtl.checks import check_shape
from lightning_mtl.metrics.pooled import PooledMetric

__all__ = ["DepthMetrics"]

SMALLEST_DEPTH = 1e-9


class DepthMetrics(PooledMetric):
    r"""Errors of depth, over the pixels of the data set whose target `d` is above 0.

    With the prediction `p' = max(p, 1e-9)`:

        RMSE     = sqrt(mean (p' - d)^2)             metres
        log_RMSE = sqrt(mean (ln p' - ln d)^2)
        abs_err  = mean |p' - d|                     metres
        rel_err  = mean |p' - d| / d
        delta_k  = mean [max(p' / d, d / p') < 1.25^k],  k = 1, 2, 3, from 0 to 1

    All see the same prediction, so that the RMSE is never below the absolute error. Vandenhende et
    al., "Multi-Task Learning for Dense Prediction Tasks: A Survey" (TPAMI 2021), lift predictions
    so for their RMSE; Liu et al., "End-to-End Multi-Task Learning with Attention" (CVPR 2019), do
    not for absolute and relative errors.

    Args:
        lift: whether RMSE, absolute and relative errors are those of the lifted prediction, too, or
            of the raw one. Logarithms and ratios need a positive one anyway.

    Example:
        >>> metrics = DepthMetrics()
        >>> prediction = torch.tensor([[[[1.0, 3.0, 9.0]]]])
        >>> metrics.update(prediction, torch.tensor([[[[1.0, 2.0, 0.0]]]]))
        >>> metrics.compute()["rel_err"]
        tensor(0.2500)
    """

    directions: ClassVar[dict[str, bool]] = {
        "RMSE": False,
        "log_RMSE": False,
        "abs_err": False,
        "rel_err": False,
        "delta1": True,
        "delta2": True,
        "delta3": True,
    }
    primary = ("RMSE", "abs_err")
    count: Int[Tensor, ""]
    errors: Float[Tensor, " 4"]
    within: Int[Tensor, " 3"]

    def __init__(self, lift: bool = True) -> None:
        super().__init__()
        self.lift = lift
        self.add_count("count")
        self.add_sum("errors", 4)
        self.add_count("within", 3)

    def update(
        self, prediction: Float[Tensor, "N 1 H W"], target: Float[Tensor, "N 1 H W"]
    ) -> None:
        """Add the errors of a batch.

        Args:
            prediction: depth in metres.
            target: depth in metres; 0 is invalid.

        Raises:
            ValueError: if a shape does not fit.
        """
        check_shape("DepthMetrics", "prediction", prediction, ("N", 1, "H", "W"))
        check_shape("DepthMetrics", "target", target, tuple(prediction.shape))
        valid = target > 0
        # One metre on both sides is no error, whatever an invalid pixel held.
        prediction = torch.where(valid, prediction.detach().float(), 1)
        target = torch.where(valid, target.float(), 1)
        positive = prediction.clamp(min=SMALLEST_DEPTH)
        absolute = ((positive if self.lift else prediction) - target).abs()
        ratio = torch.maximum(positive / target, target / positive)
        errors = (
            absolute.square(),
            (positive.log() - target.log()).square(),
            absolute,
            absolute / target,
        )
        self.count += valid.sum()
        self.errors += torch.stack([error.sum(dtype=self.errors.dtype) for error in errors])
        self.within += torch.stack([((ratio < 1.25**k) & valid).sum() for k in (1, 2, 3)])

    def values(self) -> dict[str, Tensor]:
        """The errors and the shares below thresholds, called by `compute`."""
        if self.count == 0:
            return {}
        squared, squared_log, absolute, relative = self.errors / self.count
        shares = self.within.to(self.errors) / self.count
        return {
            "RMSE": squared.sqrt(),
            "log_RMSE": squared_log.sqrt(),
            "abs_err": absolute,
            "rel_err": relative,
            "delta1": shares[0],
            "delta2": shares[1],
            "delta3": shares[2],
        }
