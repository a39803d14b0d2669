"""Classification of images as a task."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric

from lightning_mtl.checks import check_dtype, check_labels, check_shape
from lightning_mtl.losses import labelled
from lightning_mtl.metrics import ClassificationMetrics
from lightning_mtl.metrics.per_image import per_image
from lightning_mtl.tasks.arguments import check_class_weights, check_names, checked_metrics
from lightning_mtl.tasks.files import finite, write_facts
from lightning_mtl.tasks.loss_function import LossFunction, class_loss
from lightning_mtl.tasks.segmentation import Segmentation
from lightning_mtl.tasks.task import Task

__all__ = ["Classification"]


class Classification(Task):
    """One of `num_classes` classes per image, learned by cross entropy, compared by accuracy.

    A prediction is one logit per class, `(N, C)`, or a map of them `(N, C, H, W)` whose mean
    counts; a target is the class `(N,)`.

    Args:
        num_classes: labels run from 0 to `num_classes - 1`.
        name: key of the task.
        ignore_index: label of images without a class.
        class_names: of the classes in their order, for pictures and files.
        class_weights: how much a label of each class counts in the cross entropy, which then is the
            weighted mean `sum w l / sum w`; by default all alike.
        loss: `loss(logits, target)` in place of the cross entropy, such as
            `torch.nn.CrossEntropyLoss(reduction="none")`. Of values for each image, the mean over
            labelled ones is taken; a scalar is used as it is. Images without a class have class 0
            there, and logits that are sure of it.
        extra_metrics: metrics of torchmetrics by their names, given logits `(M, C)` and labels
            `(M,)` of what has a class.
    """

    (primary_metric,) = ClassificationMetrics.primary
    higher_is_better = ClassificationMetrics.directions[primary_metric]

    def __init__(
        self,
        num_classes: int,
        name: str,
        ignore_index: int = 255,
        class_names: Sequence[str] | None = None,
        class_weights: Sequence[float] | None = None,
        loss: LossFunction | None = None,
        extra_metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        check_names("Classification", class_names, num_classes)
        check_class_weights("Classification", class_weights, num_classes, loss is not None)
        self.name = name
        self.out_channels = num_classes
        self.ignore_index = ignore_index
        self.class_names = None if class_names is None else tuple(class_names)
        self._loss = loss
        # An image without its axes is one pixel.
        self._pixels = Segmentation(num_classes, name, ignore_index, class_weights=class_weights)
        self.extra_metrics = checked_metrics(self, extra_metrics)

    def loss(self, prediction: Tensor, target: Int[Tensor, " N"]) -> Float[Tensor, ""]:
        """The cross entropy, a mean over labelled images, or the mean of a given loss."""
        logits = per_image(prediction)
        if self._loss is None:
            return self._pixels.loss(logits[:, :, None, None], target[:, None, None])
        return class_loss(self.title, self._loss, logits, target, self.valid(target))

    def valid(self, target: Int[Tensor, " N"]) -> Bool[Tensor, " N"]:
        """The images that have a class."""
        return labelled(target, self.ignore_index)

    def count(self, target: Int[Tensor, " N"]) -> Float[Tensor, ""] | None:
        """The number of labelled images, or the sum of the weights of their classes."""
        return self._pixels.count(target[:, None, None])

    def metrics(self) -> ClassificationMetrics:
        """New classification metrics, without any data yet."""
        return ClassificationMetrics(self.ignore_index)

    def elements(
        self, prediction: Tensor, target: Int[Tensor, " N"]
    ) -> tuple[Float[Tensor, "M C"], Int[Tensor, " M"]]:
        """The logits and the labels of the labelled images."""
        valid = self.valid(target)
        return per_image(prediction)[valid], target.long()[valid]

    def draw(self, prediction: Tensor, target: Tensor | None = None) -> Float[Tensor, "N 3 1 1"]:
        """One pixel, the colour of the most likely class."""
        return self._pixels.draw(per_image(prediction)[:, :, None, None])

    def draw_target(self, target: Int[Tensor, " N"]) -> Float[Tensor, "N 3 1 1"]:
        """One pixel, the colour of the class, black where it is ignored."""
        return self._pixels.draw_target(target[:, None, None])

    def words(self, prediction: Tensor) -> list[str]:
        """The name or the number of the most likely class."""
        return [self._word(label) for label in per_image(prediction).argmax(dim=1).tolist()]

    def target_words(self, target: Int[Tensor, " N"]) -> list[str]:
        """The name or the number of the class, nothing where it is ignored."""
        labels = target.tolist()
        return ["" if label == self.ignore_index else self._word(label) for label in labels]

    def write(self, prediction: Tensor, path: Path) -> Path:
        """Write the most likely class, its name if known, and its probability as JSON.

        Args:
            prediction: the logits.
            path: where to, without a suffix.
        """
        shares = torch.softmax(per_image(prediction[None])[0], dim=0)
        label = int(shares.argmax())
        facts: dict[str, object] = {"class": label}
        if self.class_names is not None:
            facts["name"] = self.class_names[label]
        return write_facts(facts | {"probability": finite(float(shares[label]))}, path)

    def pixel_sum(self, target: Int[Tensor, " N"]) -> tuple[Tensor, Tensor]:
        """How many images each class has, and how many there are."""
        return self._pixels.pixel_sum(target[:, None, None])

    def constant(self, mean: Float[Tensor, " C"], target: Tensor) -> Float[Tensor, "N C"]:
        """The share of each class, for every image."""
        return mean.to(target.device).expand(len(target), -1)

    def check_form(self, target: Int[Tensor, " N"]) -> None:
        """Raise unless the target is one integer label per image."""
        check_shape(self.title, "target", target, ("N",))
        check_dtype(self.title, target, floating=False)

    def check_content(self, target: Int[Tensor, " N"]) -> None:
        """Raise unless the labels are classes."""
        check_labels(self.title, target, self.out_channels, self.ignore_index)

    def _word(self, label: int) -> str:
        return str(label) if self.class_names is None else self.class_names[label]
