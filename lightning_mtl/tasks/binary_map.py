"""The base of tasks that have one of two classes per pixel."""

import warnings
from abc import ABC
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from lightning_mtl.checks import check_dtype, check_number, check_shape, check_values
from lightning_mtl.losses import balanced_binary_cross_entropy, labelled
from lightning_mtl.metrics.pooled import accumulator_dtype
from lightning_mtl.tasks.colors import colorize
from lightning_mtl.tasks.files import write_shares
from lightning_mtl.tasks.loss_function import SURE, LossFunction, valid_loss
from lightning_mtl.tasks.task import Task

__all__ = ["BinaryMap"]

# Predictions of a share of 0 or 1 stay finite.
SMALLEST_SHARE = 1e-6


class BinaryMap(Task, ABC):
    """One of two classes per pixel, learned by balanced binary cross entropy.

    A prediction is one logit `(N, 1, H, W)`; a target is `(N, H, W)`, floating, of 0 and 1.

    Attributes:
        positive_weight: weight of positive pixels in the loss; that of negative ones is the rest
            to one. None is the share of negative pixels in the batch. Accumulated micro-batches and
            the batches of ranks then have a weight each, so that their mean over labelled pixels is
            the loss of one batch only if their shares are equal.
        ignore_index: label of pixels without a label.
        given_loss: what takes the place of the balanced cross entropy, if anything.
    """

    out_channels = 1
    positive_weight: float | None
    ignore_index: int
    given_loss: LossFunction | None = None

    def check_weight(self) -> None:
        """Raise unless the weight of positive pixels is a share.

        Raises:
            ValueError: if it is not from 0 to 1.
        """
        if self.positive_weight is not None:
            owner = type(self).__name__
            check_number(owner, "positive_weight", self.positive_weight, 0, 1)

    def loss(
        self, prediction: Float[Tensor, "N 1 H W"], target: Num[Tensor, "N H W"]
    ) -> Float[Tensor, ""]:
        """The class-balanced binary cross entropy of labelled pixels, or the mean of a given loss.

        A given loss sees logits and targets `(N, H, W)`.
        """
        logits = prediction[:, 0]
        if self.given_loss is None:
            return balanced_binary_cross_entropy(
                logits, target, self.positive_weight, self.ignore_index
            )
        return valid_loss(
            self.title, self.given_loss, logits, target, self.valid(target), (-SURE, 0)
        )

    def valid(self, target: Num[Tensor, "N H W"]) -> Bool[Tensor, "N H W"]:
        """The pixels that have a label."""
        return labelled(target, self.ignore_index)

    def elements(
        self, prediction: Float[Tensor, "N 1 H W"], target: Num[Tensor, "N H W"]
    ) -> tuple[Float[Tensor, " M"], Int[Tensor, " M"]]:
        """The probability and the label, 0 or 1, of each labelled pixel."""
        valid = self.valid(target)
        return torch.sigmoid(prediction[:, 0].float())[valid], (target[valid] >= 0.5).long()

    def draw(
        self, prediction: Float[Tensor, "N 1 H W"], target: Tensor | None = None
    ) -> Float[Tensor, "N 3 H W"]:
        """The probability, from dark to bright."""
        return colorize(torch.sigmoid(prediction[:, 0].float()))

    def draw_target(self, target: Num[Tensor, "N H W"]) -> Float[Tensor, "N 3 H W"]:
        """Positive pixels are bright, negative ones dark, ignored ones black."""
        return torch.where(self.valid(target)[:, None], colorize(target.float()), 0)

    def write(self, prediction: Float[Tensor, "1 H W"], path: Path) -> Path:
        """Write the probabilities as grey PNG of 8 bits, 255 for 1.

        Args:
            prediction: the logits.
            path: where to, without a suffix.
        """
        return write_shares(torch.sigmoid(prediction[0]), path)

    def pixel_sum(self, target: Num[Tensor, "N H W"]) -> tuple[Tensor, Tensor]:
        """The number of positive pixels, and how many there are."""
        dtype = accumulator_dtype(target.device)
        valid = self.valid(target)
        positive = (valid & (target >= 0.5)).sum(dtype=dtype)
        return positive.view(1), valid.sum(dtype=dtype)

    def constant(self, mean: Float[Tensor, " 1"], target: Tensor) -> Float[Tensor, "N 1 H W"]:
        """The logit of the share of positive pixels, everywhere."""
        return super().constant(mean.logit(SMALLEST_SHARE), target)

    def check_form(self, target: Num[Tensor, "N H W"]) -> None:
        """Raise unless the target is one floating number per pixel."""
        check_shape(self.title, "target", target, ("N", "H", "W"))
        check_dtype(self.title, target, floating=True)

    def check_content(self, target: Num[Tensor, "N H W"]) -> None:
        """Raise unless the target is zeros, ones and ignored pixels; warn of a mask of 0 and 255.

        An image of 0 and 255 has no positive pixel and some that are ignored, or is a mask of 8
        bits that nobody divided by 255. Nothing in it tells which, so it is no error.
        """
        wrong = target[(target != 0) & (target != 1) & (target != self.ignore_index)]
        expected = f"labels of 0 and 1, or {self.ignore_index} to ignore a pixel"
        remedy = "Set them from what they mean, for instance 1 from 0.5 on."
        check_values(self.title, expected, wrong, remedy)
        if self.ignore_index == 255 and not (target == 1).any():
            mixed = (target == 0).flatten(1).any(dim=1) & (target == 255).flatten(1).any(dim=1)
            if mixed.any():
                warnings.warn(
                    f"The target of `{self.title}` should have labels of 0 and 1. Found images of"
                    " 0 and 255 only, and 255 is ignored, so no pixel of the batch is positive. If"
                    " they are masks of 8 bits, divide them by 255.",
                    stacklevel=2,
                )
