"""Binary attributes of images as a task."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor
from torchmetrics import Metric

from lightning_mtl.checks import check_number, check_shape, check_values
from lightning_mtl.losses import binary_cross_entropy, labelled
from lightning_mtl.metrics import AttributeMetrics
from lightning_mtl.metrics.per_image import per_image
from lightning_mtl.metrics.pooled import accumulator_dtype
from lightning_mtl.tasks.arguments import check_names, checked_metrics
from lightning_mtl.tasks.colors import colorize
from lightning_mtl.tasks.files import finite, write_facts
from lightning_mtl.tasks.loss_function import SURE, LossFunction, valid_loss
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
        class_names: of the attributes in their order, for pictures and files.
        positive_weights: by what the cross entropy of a true label of each attribute is multiplied,
            the `pos_weight` of torch; by default 1.
        loss: `loss(logits, target)` in place of the cross entropy, both `(N, A)`, such as
            `torch.nn.BCEWithLogitsLoss(reduction="none")`. Of values for each attribute, the mean
            over known ones is taken; a scalar is used as it is. Attributes that are not known have
            target 0 and a logit of -20.
        extra_metrics: metrics of torchmetrics by their names, given probabilities and labels of 0
            and 1 `(M,)` of the known attributes.
    """

    (primary_metric,) = AttributeMetrics.primary
    higher_is_better = AttributeMetrics.directions[primary_metric]

    def __init__(
        self,
        num_attributes: int = 40,
        name: str = "attributes",
        ignore_index: int = 255,
        class_names: Sequence[str] | None = None,
        positive_weights: Sequence[float] | None = None,
        loss: LossFunction | None = None,
        extra_metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        check_number("Attributes", "num_attributes", num_attributes, 1)
        check_names("Attributes", class_names, num_attributes)
        _check_positive_weights(positive_weights, num_attributes, loss is not None)
        self.name = name
        self.out_channels = num_attributes
        self.ignore_index = ignore_index
        self.class_names = None if class_names is None else tuple(class_names)
        self._positive_weights = (
            None if positive_weights is None else torch.tensor(positive_weights).float()
        )
        self._loss = loss
        self.extra_metrics = checked_metrics(self, extra_metrics)

    def loss(self, prediction: Tensor, target: Num[Tensor, "N A"]) -> Float[Tensor, ""]:
        """The binary cross entropy, a mean over known attributes, or the mean of a given loss."""
        logits, weights = per_image(prediction), self._positive_weights
        if self._loss is None:
            return binary_cross_entropy(logits, target, weights, self.ignore_index)
        known = self.valid(target)
        return valid_loss(self.title, self._loss, logits, target, known, (-SURE, 0))

    def valid(self, target: Num[Tensor, "N A"]) -> Bool[Tensor, "N A"]:
        """The attributes that are known."""
        return labelled(target, self.ignore_index)

    def metrics(self) -> AttributeMetrics:
        """New attribute metrics, without any data yet."""
        return AttributeMetrics(self.out_channels, self.ignore_index)

    def elements(
        self, prediction: Tensor, target: Num[Tensor, "N A"]
    ) -> tuple[Float[Tensor, " M"], Int[Tensor, " M"]]:
        """The probability and the label, 0 or 1, of each known attribute."""
        known = self.valid(target)
        return torch.sigmoid(per_image(prediction))[known], (target[known] >= 0.5).long()

    def draw(self, prediction: Tensor, target: Tensor | None = None) -> Float[Tensor, "N 3 1 A"]:
        """One pixel per attribute, the more likely the brighter."""
        return colorize(torch.sigmoid(per_image(prediction))[:, None])

    def draw_target(self, target: Num[Tensor, "N A"]) -> Float[Tensor, "N 3 1 A"]:
        """One pixel per attribute, bright if true, black if unknown."""
        known = self.valid(target)[:, None, None]
        return torch.where(known, colorize(target.float()[:, None]), 0)

    def words(self, prediction: Tensor) -> list[str]:
        """The probabilities, if there are at most three attributes."""
        return number_words(torch.sigmoid(per_image(prediction)), self.class_names)

    def target_words(self, target: Num[Tensor, "N A"]) -> list[str]:
        """The labels, if there are at most three attributes; "?" where unknown."""
        known = torch.where(self.valid(target), target.float(), torch.nan)
        return number_words(known, self.class_names)

    def write(self, prediction: Tensor, path: Path) -> Path:
        """Write the probability of each attribute, with its name if known, as JSON.

        Args:
            prediction: the logits.
            path: where to, without a suffix.
        """
        shares = torch.sigmoid(per_image(prediction[None])[0]).tolist()
        facts: list[dict[str, object]] = [{"probability": finite(share)} for share in shares]
        if self.class_names is not None:
            pairs = zip(self.class_names, facts, strict=True)
            facts = [{"name": name} | fact for name, fact in pairs]
        return write_facts({"attributes": facts}, path)

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


def _check_positive_weights(weights: Sequence[float] | None, count: int, own_loss: bool) -> None:
    if weights is None:
        return
    owner = "`Attributes(positive_weights=)`"
    if own_loss:
        raise ValueError(
            f"{owner} should be given without a `loss`: they are weights in the cross entropy."
            " Found both. Let your loss weigh the labels."
        )
    if len(weights) != count or not all(0 < weight < math.inf for weight in weights):
        raise ValueError(
            f"{owner} should be {count} positive, finite numbers, one for each attribute. Found"
            f" {list(weights)}."
        )
