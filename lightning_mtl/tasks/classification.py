"""Classification of images as a task."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightning_mtl.checks import check_dtype, check_labels, check_shape
from lightning_mtl.losses import cross_entropy, labelled
from lightning_mtl.metrics import ClassificationMetrics
from lightning_mtl.metrics.per_image import per_image
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
    """

    (primary_metric,) = ClassificationMetrics.primary
    higher_is_better = ClassificationMetrics.directions[primary_metric]

    def __init__(self, num_classes: int, name: str, ignore_index: int = 255) -> None:
        self.name = name
        self.out_channels = num_classes
        self.ignore_index = ignore_index
        self._pixels = Segmentation(num_classes, name, ignore_index)

    def loss(self, prediction: Tensor, target: Int[Tensor, " N"]) -> Float[Tensor, ""]:
        """The cross entropy, a mean over labelled images."""
        logits = per_image(prediction)[:, :, None, None]
        return cross_entropy(logits, target[:, None, None], self.ignore_index)

    def valid(self, target: Int[Tensor, " N"]) -> Bool[Tensor, " N"]:
        """The images that have a class."""
        return labelled(target, self.ignore_index)

    def metrics(self) -> ClassificationMetrics:
        """New classification metrics, without any data yet."""
        return ClassificationMetrics(self.ignore_index)

    def draw(self, prediction: Tensor, target: Tensor | None = None) -> Float[Tensor, "N 3 1 1"]:
        """One pixel, the colour of the most likely class."""
        return self._pixels.draw(per_image(prediction)[:, :, None, None])

    def draw_target(self, target: Int[Tensor, " N"]) -> Float[Tensor, "N 3 1 1"]:
        """One pixel, the colour of the class, black where it is ignored."""
        return self._pixels.draw_target(target[:, None, None])

    def words(self, prediction: Tensor) -> list[str]:
        """The number of the most likely class."""
        return [str(label) for label in per_image(prediction).argmax(dim=1).tolist()]

    def target_words(self, target: Int[Tensor, " N"]) -> list[str]:
        """The number of the class, nothing where it is ignored."""
        return ["" if label == self.ignore_index else str(label) for label in target.tolist()]

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
