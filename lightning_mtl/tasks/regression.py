"""Real numbers about images as a task."""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric

from lightning_mtl.checks import check_dtype, check_number, check_shape, check_values
from lightning_mtl.losses import masked_squared_error
from lightning_mtl.metrics import RegressionMetrics
from lightning_mtl.metrics.per_image import per_image
from lightning_mtl.metrics.pooled import accumulator_dtype
from lightning_mtl.tasks.arguments import checked_metrics
from lightning_mtl.tasks.colors import colorize
from lightning_mtl.tasks.files import finite, write_facts
from lightning_mtl.tasks.loss_function import LossFunction, valid_loss
from lightning_mtl.tasks.task import Task
from lightning_mtl.tasks.words import number_words

__all__ = ["Regression"]


class Regression(Task):
    """Real numbers about each image, learned by squared error and compared by RMSE.

    A prediction is `(N, C)`, or a map `(N, C, H, W)` whose mean counts; a target is `(N, C)`, NaN
    where it is not known. Targets of about unit size are learned best.

    Args:
        name: key of the task.
        out_channels: C.
        loss: `loss(prediction, target)` in place of the squared error, both `(N, C)`, such as
            `torch.nn.SmoothL1Loss(reduction="none")`. Of values for each number, the mean over
            known ones is taken; a scalar is used as it is. Unknown numbers are 1 on both sides.
        extra_metrics: metrics of torchmetrics by their names, given the known numbers `(M,)`.
    """

    (primary_metric,) = RegressionMetrics.primary
    higher_is_better = RegressionMetrics.directions[primary_metric]

    def __init__(
        self,
        name: str,
        out_channels: int = 1,
        loss: LossFunction | None = None,
        extra_metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        check_number("Regression", "out_channels", out_channels, 1)
        self.name = name
        self.out_channels = out_channels
        self._loss = loss
        self.extra_metrics = checked_metrics(self, extra_metrics)

    def loss(self, prediction: Tensor, target: Float[Tensor, "N C"]) -> Float[Tensor, ""]:
        """The mean squared error over known numbers, or the mean of a given loss."""
        numbers, known = per_image(prediction), self.valid(target)
        if self._loss is None:
            return masked_squared_error(numbers, target, known)
        return valid_loss(self.title, self._loss, numbers, target, known)

    def valid(self, target: Float[Tensor, "N C"]) -> Bool[Tensor, "N C"]:
        """The numbers that are known."""
        return ~target.isnan()

    def metrics(self) -> RegressionMetrics:
        """New regression metrics, without any data yet."""
        return RegressionMetrics()

    def elements(
        self, prediction: Tensor, target: Float[Tensor, "N C"]
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
        """The known numbers and what is predicted for them."""
        known = self.valid(target)
        return per_image(prediction)[known], target.float()[known]

    def draw(self, prediction: Tensor, target: Tensor | None = None) -> Float[Tensor, "N 3 1 C"]:
        """One pixel per number, through a sigmoid: dark if negative, bright if positive."""
        return colorize(torch.sigmoid(per_image(prediction))[:, None])

    def draw_target(self, target: Float[Tensor, "N C"]) -> Float[Tensor, "N 3 1 C"]:
        """One pixel per number, dark if negative, bright if positive, black if unknown."""
        return torch.where(self.valid(target)[:, None, None], self.draw(target), 0)

    def words(self, prediction: Tensor) -> list[str]:
        """The numbers, if there are at most three."""
        return number_words(per_image(prediction))

    def target_words(self, target: Float[Tensor, "N C"]) -> list[str]:
        """The numbers, if there are at most three; "?" where unknown."""
        return number_words(target)

    def write(self, prediction: Tensor, path: Path) -> Path:
        """Write the numbers as JSON.

        Args:
            prediction: the numbers.
            path: where to, without a suffix.
        """
        numbers = per_image(prediction[None])[0].tolist()
        return write_facts({"values": [finite(number) for number in numbers]}, path)

    def pixel_sum(self, target: Float[Tensor, "N C"]) -> tuple[Tensor, Tensor]:
        """The sum of each number where it is known, and how often it is."""
        dtype = accumulator_dtype(target.device)
        return target.nansum(dim=0, dtype=dtype), self.valid(target).sum(dim=0, dtype=dtype)

    def constant(self, mean: Float[Tensor, " C"], target: Tensor) -> Float[Tensor, "N C"]:
        """The mean of each number, for every image."""
        return mean.to(target.device).expand(len(target), -1)

    def check_form(self, target: Float[Tensor, "N C"]) -> None:
        """Raise unless the target is C floating numbers per image."""
        check_shape(self.title, "target", target, ("N", self.out_channels))
        check_dtype(self.title, target, floating=True)

    def check_content(self, target: Float[Tensor, "N C"]) -> None:
        """Raise unless the target is finite numbers, or NaN where unknown."""
        expected = "finite numbers, NaN where unknown"
        check_values(self.title, expected, target[target.isinf()], "Set them to NaN.")
