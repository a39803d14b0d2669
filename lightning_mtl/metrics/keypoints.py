"""Distances between predicted and true keypoints, from their heatmaps."""

from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_mtl.checks import check_choice, check_number, check_shape
from lightning_mtl.metrics.pooled import PooledMetric

__all__ = ["KeypointMetrics", "peaks"]


Decoding = Literal["argmax", "soft_argmax"]


class KeypointMetrics(PooledMetric):
    """Distance between predicted and true keypoints, over those that a target has.

    With the peaks `p` and `t` of the predicted and of the target heatmap, and the longer side S of
    the image:

        error = mean |p - t|                      pixels
        relative_error = mean |p - t| / S         from 0
        PCK = mean [|p - t| <= alpha S]           from 0 to 1

    PCK, the percentage of correct keypoints, is that of Yang and Ramanan, "Articulated Human
    Detection with Flexible Mixtures of Parts" (TPAMI 2013) with S for the size of the object. A
    target heatmap without a positive value has no keypoint. The peak is the largest value, or, with
    `decode="soft_argmax"`, the mean position under `softmax(temperature * heatmap)` (Sun et al.,
    "Integral Human Pose Regression", ECCV 2018); of a target it is always the largest value. A
    predicted heatmap with a NaN is nowhere: it is not correct, and makes the errors NaN.

    Args:
        alpha: how far from the target a keypoint is correct, as a share of S.
        decode: how a predicted heatmap becomes a position.
        temperature: sharpness of `"soft_argmax"`.

    Example:
        >>> target = torch.zeros(1, 1, 4, 5)
        >>> target[0, 0, 1, 1] = 1
        >>> metrics = KeypointMetrics(alpha=0.2)
        >>> metrics.update(target.roll(2, dims=3), target)
        >>> metrics.compute()
        {'error': tensor(2.), 'relative_error': tensor(0.4000), 'PCK': tensor(0.)}
    """

    directions: ClassVar[dict[str, bool]] = {"error": False, "relative_error": False, "PCK": True}
    primary = ("error",)
    count: Int[Tensor, ""]
    distances: Float[Tensor, " 2"]
    correct: Int[Tensor, ""]

    def __init__(
        self,
        alpha: float = 0.1,
        decode: Decoding = "argmax",
        temperature: float = 100.0,
    ) -> None:
        super().__init__()
        check_number("KeypointMetrics", "alpha", alpha, 0)
        check_choice("KeypointMetrics", "decode", decode, get_args(Decoding))
        check_number("KeypointMetrics", "temperature", temperature, 0)
        self.alpha = alpha
        self.decode = decode
        self.temperature = temperature
        self.add_count("count")
        self.add_sum("distances", 2)
        self.add_count("correct")

    def update(
        self, prediction: Float[Tensor, "N J H W"], target: Float[Tensor, "N J H W"]
    ) -> None:
        """Add the distances of a batch.

        Args:
            prediction: one heatmap per keypoint, on any scale.
            target: one heatmap per keypoint, not positive anywhere if there is none.

        Raises:
            ValueError: if a shape does not fit.
        """
        check_shape("KeypointMetrics", "prediction", prediction, ("N", "J", "H", "W"))
        check_shape("KeypointMetrics", "target", target, tuple(prediction.shape))
        valid = (target > 0).flatten(2).any(dim=2)
        position = self.positions(prediction.detach())
        distance = (position - peaks(target)).square().sum(dim=2).sqrt()
        distance = torch.where(valid, distance, 0)
        side = max(target.shape[2:])
        sums = (distance, distance / side)
        self.count += valid.sum()
        self.distances += torch.stack([one.sum(dtype=self.distances.dtype) for one in sums])
        self.correct += ((distance <= self.alpha * side) & valid).sum()

    def positions(self, prediction: Float[Tensor, "N J H W"]) -> Float[Tensor, "N J 2"]:
        """Row and column of each predicted keypoint; NaN where the heatmap has one.

        Args:
            prediction: one heatmap per keypoint, on any scale.
        """
        heatmap = prediction.float()
        soft = self.decode == "soft_argmax"
        position = _means(self.temperature * heatmap) if soft else peaks(heatmap)
        nowhere = heatmap.isnan().flatten(2).any(dim=2)
        return torch.where(nowhere[:, :, None], torch.nan, position)

    def values(self) -> dict[str, Tensor]:
        """The mean distances and the share of correct keypoints, called by `compute`."""
        if self.count == 0:
            return {}
        error, relative = self.distances / self.count
        share = self.correct.to(self.distances) / self.count
        return {"error": error, "relative_error": relative, "PCK": share}


def peaks(heatmap: Float[Tensor, "N J H W"]) -> Float[Tensor, "N J 2"]:
    """Row and column of the largest value of each heatmap, the first of several."""
    index = heatmap.flatten(2).argmax(dim=2)
    width = heatmap.shape[3]
    return torch.stack([index // width, index % width], dim=2).float()


def _means(logits: Float[Tensor, "N J H W"]) -> Float[Tensor, "N J 2"]:
    share = logits.flatten(2).softmax(dim=2).view_as(logits)
    height, width = logits.shape[2:]
    rows = torch.arange(height, device=logits.device, dtype=logits.dtype)
    columns = torch.arange(width, device=logits.device, dtype=logits.dtype)
    return torch.stack([share.sum(dim=3) @ rows, share.sum(dim=2) @ columns], dim=2)
