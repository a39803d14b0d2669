"""`Task`, the interface of all tasks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lightning_mtl.metrics.pooled import on_host
from lightning_mtl.tasks.colors import Color
from lightning_mtl.tasks.files import write_picture

__all__ = ["Task"]


class Task(ABC):
    """One thing that a network predicts for each pixel.

    A prediction is the output of the network at input resolution, `(N, C, H, W)`, after `activate`;
    the type and the invalid value of a target are the task's own.

    Attributes:
        name: key of the task in samples, batches, predictions, losses and logs.
        out_channels: C, the number of output channels that the task needs.
        primary_metric: name of the metric by which results are compared.
        higher_is_better: direction of the primary metric.
        extra_metrics: metrics of torchmetrics by their names, which are measured beside those of
            the task, over its `elements`.
    """

    name: str
    out_channels: int
    primary_metric: str
    higher_is_better: bool
    extra_metrics: Mapping[str, Metric] = MappingProxyType({})

    def activate(self, raw: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        """The prediction, from the output of the network; the same unless a task overrides it.

        Called by `DensePrediction` before all else: losses, metrics and files see predictions.
        """
        return raw

    def elements(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions and targets of the valid elements, which extra metrics are updated with.

        Metrics of torchmetrics know no mask. By default everything, as it is.
        """
        return prediction, target

    @abstractmethod
    def loss(self, prediction: Float[Tensor, "N C H W"], target: Tensor) -> Float[Tensor, ""]:
        """The training loss, a mean over valid pixels; zero with a graph if there is none."""

    def valid(self, target: Tensor) -> Bool[Tensor, "..."] | None:
        """Which labels of a target are valid, those that the loss is a mean over.

        By default `None`: the task does not say.
        """
        return None

    def count(self, target: Tensor) -> Float[Tensor, ""] | None:
        """How many labels the loss is a mean over. Called beside `loss` for each batch.

        With it, the loss of a batch is the mean of the losses of its parts, weighted by their
        counts: what gradient accumulation, ranks and validation add up to. It is computed on the
        device of the target, which is not waited for. By default the number of labels that are
        `valid`; where the task does not say which ones are, `None`: all batches then count alike.
        """
        valid = self.valid(target)
        return None if valid is None else valid.sum().float()

    @abstractmethod
    def metrics(self) -> Metric | MetricCollection:
        """New metrics, updated by `update(prediction, target)`; called once for each stage.

        Any metric of torchmetrics will do, and any collection of them.
        """

    def metric_target(self, batch: Mapping[str, Any]) -> Any:
        """The target that metrics are updated with: that of the loss, unless overridden."""
        return batch[self.name]

    @abstractmethod
    def draw(
        self, prediction: Float[Tensor, "N C H W"], target: Tensor | None = None
    ) -> Float[Tensor, "N 3 H W"]:
        """A picture of each prediction, RGB from 0 to 1.

        Args:
            prediction: what to draw.
            target: if given, colours mean the same as in `draw_target(target)`.
        """

    @abstractmethod
    def draw_target(self, target: Tensor) -> Float[Tensor, "N 3 H W"]:
        """A picture of each target, RGB from 0 to 1; invalid pixels are black."""

    def words(self, prediction: Float[Tensor, "N C H W"]) -> list[str]:
        """What to write on the picture of each prediction; nothing, unless a task overrides it."""
        return [""] * len(prediction)

    def target_words(self, target: Tensor) -> list[str]:
        """What to write on the picture of each target; nothing, unless a task overrides it."""
        return [""] * len(target)

    def write(self, prediction: Float[Tensor, "C H W"], path: Path) -> Path:
        """Write the prediction of one image to a file, and return the path of the file.

        Called by `PredictionWriter` for each image. By default the picture of `draw`, as PNG.

        Args:
            prediction: in float32 on the host, at the size of the image.
            path: where to, without a suffix.
        """
        return write_picture(self.draw(prediction[None])[0], path)

    @property
    def palette(self) -> Mapping[str, Color]:
        """The legend of the pictures, a colour by its meaning; empty, unless overridden."""
        return {}

    @abstractmethod
    def pixel_sum(self, target: Tensor) -> tuple[Float[Tensor, " C"], Float[Tensor, "*C"]]:
        """The sum over valid pixels of what the best prediction of them would be, and their number.

        Added up over a data set, `sum / number` is the mean for `constant`. There is one number, or
        one per channel where channels are known independently.
        """

    @abstractmethod
    def check_form(self, target: Tensor) -> None:
        """Raise unless a batch of targets has the shape and the dtype that the task expects.

        Raises:
            TypeError: if the dtype is wrong.
            ValueError: if the shape is wrong.
        """

    @abstractmethod
    def check_content(self, target: Tensor) -> None:
        """Raise unless the values of a batch of targets mean something; needs it on the host.

        Raises:
            ValueError: if a value is wrong.
        """

    def check(self, target: Tensor) -> None:
        """Raise unless a batch of targets is what the task expects.

        Values are read on the host only: on a device it would be a sync.

        Raises:
            TypeError: if the dtype is wrong.
            ValueError: if the shape or a value is wrong.
        """
        self.check_form(target)
        if on_host(target):
            self.check_content(target)

    @property
    def title(self) -> str:
        """The class and the name of the task, for messages."""
        return f"{type(self).__name__} {self.name}"

    def constant(self, mean: Float[Tensor, " C"], target: Tensor) -> Float[Tensor, "N C H W"]:
        """The trivial prediction that ignores the image: `mean` at every pixel of `target`.

        With the mean of the training set this is the majority class, the mean depth or the mean
        normal, which a network should beat.
        """
        size = (target.shape[0], mean.shape[0], *target.shape[-2:])
        return mean.to(target.device).view(1, -1, 1, 1).expand(size)
