"""Errors of real numbers about images."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_mtl.checks import check_shape
from lightning_mtl.metrics.per_image import per_image
from lightning_mtl.metrics.pooled import PooledMetric

__all__ = ["RegressionMetrics"]


class RegressionMetrics(PooledMetric):
    """Errors of real numbers about images, over the numbers of the data set that are not NaN.

        RMSE = sqrt(mean (p - t)^2),    abs_err = mean |p - t|,    both in the unit of the target.

    Example:
        >>> metrics = RegressionMetrics()
        >>> metrics.update(torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, torch.nan]]))
        >>> metrics.compute()
        {'RMSE': tensor(2.), 'abs_err': tensor(2.)}
    """

    directions: ClassVar[dict[str, bool]] = {"RMSE": False, "abs_err": False}
    primary = ("RMSE",)
    count: Int[Tensor, ""]
    errors: Float[Tensor, " 2"]

    def __init__(self) -> None:
        super().__init__()
        self.add_count("count")
        self.add_sum("errors", 2)

    def update(
        self,
        prediction: Float[Tensor, "N C"] | Float[Tensor, "N C H W"],
        target: Float[Tensor, "N C"],
    ) -> None:
        """Add the errors of a batch.

        Args:
            prediction: in the unit of the target; a dense one is averaged over the image.
            target: NaN is invalid.

        Raises:
            ValueError: if a shape does not fit.
        """
        numbers = per_image(prediction.detach())
        check_shape("RegressionMetrics", "prediction", numbers, ("N", "C"))
        check_shape("RegressionMetrics", "target", target, tuple(numbers.shape))
        valid = ~target.isnan()
        error = torch.where(valid, numbers - target.float(), 0)
        sums = (error.square(), error.abs())
        self.count += valid.sum()
        self.errors += torch.stack([one.sum(dtype=self.errors.dtype) for one in sums])

    def values(self) -> dict[str, Tensor]:
        """The root mean squared and the mean absolute error, called by `compute`."""
        if self.count == 0:
            return {}
        squared, absolute = self.errors / self.count
        return {"RMSE": squared.sqrt(), "abs_err": absolute}
