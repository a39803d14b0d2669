"""What edges and saliency have in common."""

from abc import ABC

import torch
from jaxtyping import Float, Num
from torch import Tensor

from lightning_mtl.losses import balanced_binary_cross_entropy
from lightning_mtl.metrics.checks import check_dtype, check_shape
from lightning_mtl.metrics.pooled import accumulator_dtype
from lightning_mtl.tasks.colors import colorize
from lightning_mtl.tasks.task import Task

__all__ = ["BinaryMap"]

# Predictions of a share of 0 or 1 stay finite.
SMALLEST_SHARE = 1e-6


class BinaryMap(Task, ABC):
    """One of two classes per pixel, learned by balanced binary cross entropy.

    A prediction is one logit `(N, 1, H, W)`; a target is `(N, H, W)`, floating, of 0 and 1.

    Attributes:
        positive_weight: Weight of positive pixels in the loss; that of negative ones is the rest
            to one. None is the share of negative pixels in the batch.
        ignore_index: Label of pixels without a label.
    """

    out_channels = 1
    positive_weight: float | None
    ignore_index: int

    def loss(
        self, prediction: Float[Tensor, "N 1 H W"], target: Num[Tensor, "N H W"]
    ) -> Float[Tensor, ""]:
        """Balanced binary cross entropy."""
        return balanced_binary_cross_entropy(
            prediction[:, 0], target, self.positive_weight, self.ignore_index
        )

    def draw(
        self, prediction: Float[Tensor, "N 1 H W"], target: Tensor | None = None
    ) -> Float[Tensor, "N 3 H W"]:
        """The probability, from dark to bright."""
        return colorize(torch.sigmoid(prediction[:, 0].float()))

    def draw_target(self, target: Num[Tensor, "N H W"]) -> Float[Tensor, "N 3 H W"]:
        """Positive pixels are bright, negative ones dark, ignored ones black."""
        return torch.where(target[:, None] != self.ignore_index, colorize(target.float()), 0)

    def pixel_sum(self, target: Num[Tensor, "N H W"]) -> tuple[Tensor, Tensor]:
        """The number of positive pixels, and how many there are."""
        dtype = accumulator_dtype(target.device)
        valid = target != self.ignore_index
        positive = (valid & (target >= 0.5)).sum(dtype=dtype)
        return positive.view(1), valid.sum(dtype=dtype)

    def constant(self, mean: Float[Tensor, " 1"], target: Tensor) -> Float[Tensor, "N 1 H W"]:
        """The logit of the share of positive pixels, everywhere."""
        return super().constant(mean.logit(SMALLEST_SHARE), target)

    def check(self, target: Num[Tensor, "N H W"]) -> None:
        """Raise unless the target is zeros, ones and ignored pixels."""
        owner = f"{type(self).__name__} {self.name}"
        check_shape(owner, "target", target, ("N", "H", "W"))
        check_dtype(owner, target, floating=True)
        wrong = target[(target != 0) & (target != 1) & (target != self.ignore_index)]
        if wrong.numel():
            raise ValueError(
                f"`{owner}` expects labels of 0 and 1, or {self.ignore_index} to ignore a pixel. "
                f"Found {wrong.numel()} other values, {float(wrong[0])} for one. Set them from "
                "what they mean, for instance 1 from 0.5 on."
            )
