"""Depth maps as a task, in metres."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric

from lightning_mtl.checks import check_choice, check_dtype, check_shape, check_values
from lightning_mtl.losses import masked_l1
from lightning_mtl.metrics import DepthMetrics, depth_metrics
from lightning_mtl.metrics.pooled import PooledMetric, accumulator_dtype
from lightning_mtl.tasks.arguments import checked_metrics
from lightning_mtl.tasks.colors import colorize
from lightning_mtl.tasks.files import write_steps
from lightning_mtl.tasks.loss_function import LossFunction, valid_loss
from lightning_mtl.tasks.task import Task
from lightning_mtl.tasks.words import range_words

__all__ = ["Activation", "Depth"]

Activation = Literal["none", "softplus", "exp"]

MILLIMETRES = -3
"""The finest step of a file, as a power of ten of a metre."""


class Depth(Task):
    """Depth along the optical axis, learned by absolute error and compared by RMSE.

    Under the protocol "mtan", which has no RMSE, it is compared by absolute error.

    Prediction and target are `(N, 1, H, W)` in metres; a target of 0 is invalid.

    Args:
        name: key of the task.
        protocol: whose metrics, of `lightning_mtl.metrics.protocols`.
        activation: what makes metres of the output of the network. Published tables are those of
            the output itself, "none". It may fall to zero or below, which metrics lift to 1e-9
            metres: a few such pixels make log RMSE useless. "softplus", `log(1 + exp(x))`, and
            "exp" give depths above zero; use one where ratios or logarithms of depth matter.
        loss: `loss(prediction, target)` in place of the absolute error, such as
            `torch.nn.SmoothL1Loss(reduction="none")`. Of values for each pixel, the mean over valid
            ones is taken; a scalar is used as it is. Invalid pixels hold 1 on both sides.
        extra_metrics: metrics of torchmetrics by their names, given valid pixels only.
    """

    out_channels = 1

    def __init__(
        self,
        name: str = "depth",
        protocol: str = "pooled",
        activation: Activation = "none",
        loss: LossFunction | None = None,
        extra_metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        check_choice("Depth", "activation", activation, get_args(Activation))
        self.name = name
        self.protocol = protocol
        self.activation = activation
        self._loss = loss
        self.extra_metrics = checked_metrics(self, extra_metrics)
        directions = depth_metrics(protocol).directions
        self.primary_metric = next(name for name in DepthMetrics.primary if name in directions)
        self.higher_is_better = directions[self.primary_metric]

    def activate(self, raw: Float[Tensor, "N 1 H W"]) -> Float[Tensor, "N 1 H W"]:
        """The depth in metres, from the output of the network."""
        if self.activation == "none":
            return raw
        return raw.float().exp() if self.activation == "exp" else functional.softplus(raw.float())

    def loss(
        self, prediction: Float[Tensor, "N 1 H W"], target: Float[Tensor, "N 1 H W"]
    ) -> Float[Tensor, ""]:
        """The mean absolute error in metres over valid pixels, or the mean of a given loss."""
        if self._loss is None:
            return masked_l1(prediction, target, self.valid(target))
        return valid_loss(self.title, self._loss, prediction, target, self.valid(target))

    def valid(self, target: Float[Tensor, "N 1 H W"]) -> Bool[Tensor, "N 1 H W"]:
        """The pixels whose depth is positive."""
        return target > 0

    def metrics(self) -> PooledMetric:
        """New depth metrics, without any data yet."""
        return depth_metrics(self.protocol)

    def elements(
        self, prediction: Float[Tensor, "N 1 H W"], target: Float[Tensor, "N 1 H W"]
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
        """Predicted and true depths of the valid pixels."""
        valid = self.valid(target)
        return prediction.float()[valid], target.float()[valid]

    def draw(
        self, prediction: Float[Tensor, "N 1 H W"], target: Float[Tensor, "N 1 H W"] | None = None
    ) -> Float[Tensor, "N 3 H W"]:
        """Dark is near, bright is far, over the range of the target, else of the prediction."""
        return _colored(prediction.float(), prediction if target is None else target)

    def draw_target(self, target: Float[Tensor, "N 1 H W"]) -> Float[Tensor, "N 3 H W"]:
        """Dark is near, bright is far, over the range of the target; black is invalid."""
        return torch.where(self.valid(target), _colored(target.float(), target), 0)

    def write(self, prediction: Float[Tensor, "1 H W"], path: Path) -> Path:
        """Write depths as grey PNG of 16 bits in millimetres, coarser beyond 65.535 metres.

        A pixel times the file's "scale" is the depth in metres; 0 is none.

        Args:
            prediction: depth in metres.
            path: where to, without a suffix.
        """
        return write_steps(prediction[0], path, MILLIMETRES, {"unit": "metre"})

    def target_words(self, target: Float[Tensor, "N 1 H W"]) -> list[str]:
        """The range of valid depths in metres, which the colours span."""
        return [f"{words} m" if words else "" for words in range_words(target)]

    def pixel_sum(self, target: Float[Tensor, "N 1 H W"]) -> tuple[Tensor, Tensor]:
        """The sum of valid depths, and how many there are."""
        dtype = accumulator_dtype(target.device)
        valid = self.valid(target)
        total = torch.where(valid, target, 0).sum(dtype=dtype)
        return total.view(1), valid.sum(dtype=dtype)

    def check_form(self, target: Float[Tensor, "N 1 H W"]) -> None:
        """Raise unless the target is one floating number per pixel."""
        check_shape(self.title, "target", target, ("N", 1, "H", "W"))
        check_dtype(self.title, target, floating=True)

    def check_content(self, target: Float[Tensor, "N 1 H W"]) -> None:
        """Raise unless the target is finite and at least 0."""
        wrong = target[~(target.isfinite() & (target >= 0))]
        expected = "finite depths in metres, 0 where unknown"
        check_values(self.title, expected, wrong, "Set them to 0.")


def _colored(depth: Tensor, reference: Tensor) -> Tensor:
    """Colours of depths over the range of the positive values of each reference image."""
    positive = reference > 0
    low = torch.where(positive, reference, torch.inf).amin(dim=(1, 2, 3), keepdim=True)
    high = torch.where(positive, reference, -torch.inf).amax(dim=(1, 2, 3), keepdim=True)
    return colorize(((depth - low) / (high - low).clamp(min=1e-3))[:, 0])
