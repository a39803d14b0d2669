"""Binary attributes of images as a task."""

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

from lightning_mtl.checks import check_number, check_shape, check_values
from lightning_mtl.losses import balanced_binary_cross_entropy, labelled
from lightning_mtl.metrics import AttributeMetrics
from lightning_mtl.metrics.per_image import per_image
from lightning_mtl.metrics.pooled import accumulator_dtype
from lightning_mtl.tasks.colors import colorize
from lightning_mtl.tasks.task import Task
from lightning_mtl.tasks.words import number_words

__all__ = ["Attributes"]

SMALLEST_SHARE = 1e-6


class Attributes(Task):
    """Binary facts about each image, learned by cross entropy and compared by mean error.

    A prediction is one logit per attribute, `(N, A)`, or a map of them `(N, A, H, W)` whose mean
    counts; a target is `(N, A)` of 0 and 1.

    Args:
        num_attributes: A: 40 for CelebA, or 1 where each attribute is a task.
        name: key of the task.
        ignore_index: label of an attribute that is not known.
    """

    (primary_metric,) = AttributeMetrics.primary
    higher_is_better = AttributeMetrics.directions[primary_metric]

    def __init__(
        self, num_attributes: int = 40, name: str = "attributes", ignore_index: int = 255
    ) -> None:
        check_number("Attributes", "num_attributes", num_attributes, 1)
        self.name = name
        self.out_channels = num_attributes
        self.ignore_index = ignore_index

    def loss(self, prediction: Tensor, target: Num[Tensor, "N A"]) -> Float[Tensor, ""]:
        """The binary cross entropy, a mean over known attributes."""
        # Balanced at a half, both classes have half of their plain weight.
        return 2 * balanced_binary_cross_entropy(
            per_image(prediction), target, 0.5, self.ignore_index
        )

    def valid(self, target: Num[Tensor, "N A"]) -> Bool[Tensor, "N A"]:
        """The attributes that are known."""
        return labelled(target, self.ignore_index)

    def metrics(self) -> AttributeMetrics:
        """New attribute metrics, without any data yet."""
        return AttributeMetrics(self.out_channels, self.ignore_index)

    def draw(self, prediction: Tensor, target: Tensor | None = None) -> Float[Tensor, "N 3 1 A"]:
        """One pixel per attribute, the more likely the brighter."""
        return colorize(torch.sigmoid(per_image(prediction))[:, None])

    def draw_target(self, target: Num[Tensor, "N A"]) -> Float[Tensor, "N 3 1 A"]:
        """One pixel per attribute, bright if true, black if unknown."""
        known = self.valid(target)[:, None, None]
        return torch.where(known, colorize(target.float()[:, None]), 0)

    def words(self, prediction: Tensor) -> list[str]:
        """The probabilities, if there are at most three attributes."""
        return number_words(torch.sigmoid(per_image(prediction)))

    def target_words(self, target: Num[Tensor, "N A"]) -> list[str]:
        """The labels, if there are at most three attributes; "?" where unknown."""
        return number_words(torch.where(self.valid(target), target.float(), torch.nan))

    def pixel_sum(self, target: Num[Tensor, "N A"]) -> tuple[Tensor, Tensor]:
        """How often each attribute is true, and how often it is known."""
        dtype = accumulator_dtype(target.device)
        known = self.valid(target)
        true = (known & (target >= 0.5)).sum(dim=0, dtype=dtype)
        return true, known.sum(dim=0, dtype=dtype)

    def constant(self, mean: Float[Tensor, " A"], target: Tensor) -> Float[Tensor, "N A"]:
        """The logit of how often each attribute is true, for every image."""
        return mean.logit(SMALLEST_SHARE).to(target.device).expand(len(target), -1)

    def check_form(self, target: Num[Tensor, "N A"]) -> None:
        """Raise unless the target has one label per attribute."""
        check_shape(self.title, "target", target, ("N", self.out_channels))

    def check_content(self, target: Num[Tensor, "N A"]) -> None:
        """Raise unless the target is zeros, ones and unknown attributes."""
        wrong = target[(target != 0) & (target != 1) & (target != self.ignore_index)]
        expected = f"labels of 0 and 1, or {self.ignore_index} if unknown"
        check_values(self.title, expected, wrong, "CelebA's files say -1 for 0.")
