"""Maps of surface normals as a task."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric

from lightning_mtl.checks import check_choice, check_dtype, check_shape, check_values
from lightning_mtl.losses import SHORTEST_NORMAL, normal_cosine, normal_l1
from lightning_mtl.metrics import NormalMetrics, normal_metrics
from lightning_mtl.metrics.pooled import PooledMetric, accumulator_dtype
from lightning_mtl.tasks.arguments import checked_metrics
from lightning_mtl.tasks.files import write_picture
from lightning_mtl.tasks.loss_function import LossFunction, valid_loss
from lightning_mtl.tasks.task import Task
from lightning_mtl.vectors import has_length, length, unit

__all__ = ["Normals"]

# More than the rounding of normals that were stored with eight bits per component.
LENGTH_TOLERANCE = 0.02

NormalLoss = Literal["l1", "l1_per_pixel", "cosine"]
LOSSES: dict[str, LossFunction] = {
    "l1": normal_l1,
    "l1_per_pixel": partial(normal_l1, divisor="pixels"),
    "cosine": normal_cosine,
}

EQUAL_COMPONENT = 3**-0.5
"""Of the unit vector that invalid pixels hold where a loss is given."""


class Normals(Task):
    """The surface normal, compared by the mean angle in degrees.

    Prediction and target are `(N, 3, H, W)` in camera coordinates, x right, y down, z forward. A
    prediction may have any length; a target has unit length, or zero length where it is invalid.

    Args:
        name: key of the task.
        protocol: whose metrics, of `lightning_mtl.metrics.protocols`.
        loss: of the normalised prediction: the absolute error of its components, a mean over them
            ("l1", Vandenhende et al., TPAMI 2021) or over pixels, three times as large
            ("l1_per_pixel", Bruggemann et al., ICCV 2021), or one minus the cosine of the angle
            ("cosine", Liu et al., CVPR 2019). Or any `loss(prediction, target)`, such as
            `torch.nn.MSELoss(reduction="none")`, of the normalised prediction. Of values for each
            element or pixel, the mean over valid ones is taken; a scalar is used as it is. Invalid
            pixels hold the same vector on both sides.
        extra_metrics: metrics of torchmetrics by their names, given unit vectors `(M, 3)` of the
            valid pixels.
    """

    out_channels = 3
    (primary_metric,) = NormalMetrics.primary

    def __init__(
        self,
        name: str = "normals",
        protocol: str = "pooled",
        loss: NormalLoss | LossFunction = "l1",
        extra_metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        if not callable(loss):
            check_choice("Normals", "loss", loss, get_args(NormalLoss), "Or give a function.")
        self.name = name
        self.protocol = protocol
        self._loss = loss
        self.extra_metrics = checked_metrics(self, extra_metrics)
        self.higher_is_better = self.metrics().directions[self.primary_metric]

    def loss(
        self, prediction: Float[Tensor, "N 3 H W"], target: Float[Tensor, "N 3 H W"]
    ) -> Float[Tensor, ""]:
        """The loss of the constructor, of the normalised prediction."""
        if isinstance(self._loss, str):
            return LOSSES[self._loss](prediction, target)
        vectors, harmless = unit(prediction, SHORTEST_NORMAL), (EQUAL_COMPONENT, EQUAL_COMPONENT)
        return valid_loss(self.title, self._loss, vectors, target, self.valid(target), harmless)

    def valid(self, target: Float[Tensor, "N 3 H W"]) -> Bool[Tensor, "N 1 H W"]:
        """The pixels whose normal is not the zero vector."""
        return has_length(target)

    def metrics(self) -> PooledMetric:
        """New normal metrics, without any data yet."""
        return normal_metrics(self.protocol)

    def elements(
        self, prediction: Float[Tensor, "N 3 H W"], target: Float[Tensor, "N 3 H W"]
    ) -> tuple[Float[Tensor, "M 3"], Float[Tensor, "M 3"]]:
        """The normalised prediction and the normal of each valid pixel."""
        valid = self.valid(target)[:, 0]
        return unit(prediction).movedim(1, -1)[valid], target.float().movedim(1, -1)[valid]

    def draw(
        self, prediction: Float[Tensor, "N 3 H W"], target: Float[Tensor, "N 3 H W"] | None = None
    ) -> Float[Tensor, "N 3 H W"]:
        """Red is right, green is up, blue faces the camera."""
        # The usual colours are those of a y that points up and a z that points to the camera.
        x, y, z = unit(prediction).nan_to_num(0).unbind(dim=1)
        return (torch.stack([x, -y, -z], dim=1) + 1) / 2

    def draw_target(self, target: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 3 H W"]:
        """Red is right, green is up, blue faces the camera; black is invalid."""
        return torch.where(self.valid(target), self.draw(target), 0)

    def write(self, prediction: Float[Tensor, "3 H W"], path: Path) -> Path:
        """Write the unit normals `n` as RGB PNG, `255 (n + 1) / 2`, in the axes of the prediction.

        Pictures of `draw` have other axes, those of the usual colours.

        Args:
            prediction: vectors of any length.
            path: where to, without a suffix.
        """
        normals = unit(prediction[None])[0].nan_to_num(0)
        text = {"axes": "x right, y down, z forward", "value": "255 (n + 1) / 2"}
        return write_picture((normals + 1) / 2, path, text)

    def pixel_sum(self, target: Float[Tensor, "N 3 H W"]) -> tuple[Tensor, Tensor]:
        """The sum of valid normals, and how many there are."""
        dtype = accumulator_dtype(target.device)
        return target.sum(dim=(0, 2, 3), dtype=dtype), self.valid(target).sum(dtype=dtype)

    def check_form(self, target: Float[Tensor, "N 3 H W"]) -> None:
        """Raise unless the target is one floating vector per pixel."""
        check_shape(self.title, "target", target, ("N", 3, "H", "W"))
        check_dtype(self.title, target, floating=True)

    def check_content(self, target: Float[Tensor, "N 3 H W"]) -> None:
        """Raise unless the target has vectors of length one or zero."""
        lengths = length(target)
        wrong = lengths[(lengths != 0) & ~((lengths - 1).abs() <= LENGTH_TOLERANCE)]
        expected = "normals of length 1, or 0 where unknown"
        remedy = "Normalise the targets after every interpolation."
        check_values(self.title, expected, wrong, remedy, what="length")
