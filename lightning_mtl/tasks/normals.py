"""Maps of surface normals as a task."""

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mtl.checks import check_choice, check_dtype, check_shape, check_values
from lightning_mtl.losses import normal_cosine, normal_l1
from lightning_mtl.metrics import NormalMetrics, normal_metrics
from lightning_mtl.metrics.pooled import PooledMetric, accumulator_dtype
from lightning_mtl.tasks.task import Task
from lightning_mtl.vectors import has_length, length, unit

__all__ = ["Normals"]

# More than the rounding of normals that were stored with eight bits per component.
LENGTH_TOLERANCE = 0.02

NormalLoss = Literal["l1", "l1_per_pixel", "cosine"]
LOSSES: dict[NormalLoss, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": normal_l1,
    "l1_per_pixel": partial(normal_l1, divisor="pixels"),
    "cosine": normal_cosine,
}


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
            ("cosine", Liu et al., CVPR 2019).
    """

    out_channels = 3
    (primary_metric,) = NormalMetrics.primary

    def __init__(
        self, name: str = "normals", protocol: str = "pooled", loss: NormalLoss = "l1"
    ) -> None:
        check_choice("Normals", "loss", loss, get_args(NormalLoss))
        self.name = name
        self.protocol = protocol
        self._loss = LOSSES[loss]
        self.higher_is_better = self.metrics().directions[self.primary_metric]

    def loss(
        self, prediction: Float[Tensor, "N 3 H W"], target: Float[Tensor, "N 3 H W"]
    ) -> Float[Tensor, ""]:
        """The loss named in the constructor, of the normalised prediction."""
        return self._loss(prediction, target)

    def valid(self, target: Float[Tensor, "N 3 H W"]) -> Bool[Tensor, "N 1 H W"]:
        """The pixels whose normal is not the zero vector."""
        return has_length(target)

    def metrics(self) -> PooledMetric:
        """New normal metrics, without any data yet."""
        return normal_metrics(self.protocol)

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
