"""Disparity (inverse depth) maps as a task."""

from collections.abc import Mapping
from pathlib import Path

from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from lightning_mtl.metrics import depth_metrics
from lightning_mtl.tasks.arguments import checked_metrics
from lightning_mtl.tasks.depth import Activation, Depth
from lightning_mtl.tasks.files import write_steps
from lightning_mtl.tasks.loss_function import LossFunction
from lightning_mtl.tasks.words import range_words
from lightning_mtl.tasks.wrapped import WrappedTask

__all__ = ["Disparity"]


class Disparity(WrappedTask):
    """Inverse depth, learned and compared by absolute error.

    Prediction and target are `(N, 1, H, W)` in any unit, pixels or 1/m; a target of 0 is invalid.
    Metrics are those of depth in that unit; bright is near (Cityscapes in Liu et al., "End-to-End
    Multi-Task Learning with Attention", CVPR 2019).

    Args:
        name: key of the task.
        protocol: whose metrics, of `lightning_mtl.metrics.protocols`: one that has `abs_err`.
        activation: what makes disparities of the output of the network, as in `Depth`.
        loss: `loss(prediction, target)` in place of the absolute error, as in `Depth`.
        extra_metrics: metrics of torchmetrics by their names, given valid pixels only.
    """

    out_channels = 1
    primary_metric = "abs_err"

    def __init__(
        self,
        name: str = "disparity",
        protocol: str = "pooled",
        activation: Activation = "none",
        loss: LossFunction | None = None,
        extra_metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        self.task = Depth(name, protocol, activation, loss)
        self.name = name
        self.extra_metrics = checked_metrics(self, extra_metrics)
        directions = depth_metrics(protocol).directions
        if self.primary_metric not in directions:
            raise ValueError(
                f"`Disparity(protocol=)` should be one with `abs_err`. Found {protocol!r}, which"
                f" has {sorted(directions)}."
            )
        self.higher_is_better = directions[self.primary_metric]

    def target_words(self, target: Float[Tensor, "N 1 H W"]) -> list[str]:
        """The range of valid disparities, which the colours span; their unit is unknown."""
        return range_words(target)

    def write(self, prediction: Float[Tensor, "1 H W"], path: Path) -> Path:
        """Write disparities as grey PNG of 16 bits, as fine as the largest one allows.

        A pixel times the file's "scale" is the disparity; 0 is none.

        Args:
            prediction: disparity in any unit.
            path: where to, without a suffix.
        """
        return write_steps(prediction[0], path, None, {})
