"""Metrics as papers define them, by the name of the paper.

Numbers of different protocols must not be compared. "pooled" is the default: all valid pixels of
the data set count alike. What the others do otherwise:

| protocol         | segmentation, mIoU     | depth                      | normals              |
|------------------|------------------------|----------------------------|----------------------|
| survey, atrc     | absent classes count 0 | as pooled                  | as pooled            |
| astmt            | absent classes count 0 | RMSE: mean of images       | as pooled            |
| libmtl           | as pooled              | of raw predictions         | as pooled            |
| mtan             | as pooled              | abs_err, rel_err: mean of  | all: mean of batches |
|                  |                        | batches, raw predictions   |                      |
| mtan_before_2020 | mean of images         | as mtan                    | as mtan              |

* survey: Vandenhende et al., "Multi-Task Learning for Dense Prediction Tasks: A Survey" (TPAMI
  2021). atrc: Bruggemann et al., "Exploring Relational Context for Multi-Task Dense Prediction"
  (ICCV 2021). astmt: Maninis et al., "Attentive Single-Tasking of Multiple Tasks" (CVPR 2019).
  libmtl: Lin and Zhang, "LibMTL" (JMLR 2023). mtan: Liu et al., "End-to-End Multi-Task Learning
  with Attention" (CVPR 2019), whose code took mIoU over the data set from November 2020 on;
  Nash-MTL and CAGrad follow it.
* Where a class occurs neither in targets nor in predictions, mtan and libmtl have no number at all;
  here, as in pooled, it is left out of the mean.
* Predicted depths below 1e-9 metres are lifted to it; where depth is "of raw predictions", only in
  logarithms and ratios.
* The code of astmt counts pixels without depth as true depths of 1e-9; here they do not count.
* mtan uses batches of 2, on which its numbers depend.
* Shares are from 0 to 1 here; survey and astmt print them times 100.

Saliency and edges have protocols of their own, listed in `SaliencyMetrics` and `edge_protocols`.
"""

from collections.abc import Callable, Mapping

from lightning_mtl.metrics.averaged import AveragedMetric
from lightning_mtl.metrics.depth import DepthMetrics
from lightning_mtl.metrics.normals import NormalMetrics
from lightning_mtl.metrics.pooled import PooledMetric
from lightning_mtl.metrics.protocol_lookup import find_protocol
from lightning_mtl.metrics.segmentation import SegmentationMetrics

__all__ = ["depth_metrics", "normal_metrics", "segmentation_metrics"]


def _absent_skipped(num_classes: int, ignore_index: int) -> PooledMetric:
    return SegmentationMetrics(num_classes, ignore_index)


def _absent_zero(num_classes: int, ignore_index: int) -> PooledMetric:
    return SegmentationMetrics(num_classes, ignore_index, absent_classes="zero")


def _image_ious(num_classes: int, ignore_index: int) -> PooledMetric:
    return AveragedMetric(SegmentationMetrics(num_classes, ignore_index), over="images")


def _image_rmse() -> PooledMetric:
    return AveragedMetric(DepthMetrics(), over="images", names=["RMSE"])


def _batch_errors() -> PooledMetric:
    return AveragedMetric(_raw_errors(), over="batches", names=["abs_err", "rel_err"])


def _raw_errors() -> PooledMetric:
    return DepthMetrics(lift=False)


def _batch_angles() -> PooledMetric:
    return AveragedMetric(NormalMetrics(), over="batches")


SEGMENTATION: Mapping[str, Callable[[int, int], PooledMetric]] = {
    "pooled": _absent_skipped,
    "survey": _absent_zero,
    "atrc": _absent_zero,
    "astmt": _absent_zero,
    "libmtl": _absent_skipped,
    "mtan": _absent_skipped,
    "mtan_before_2020": _image_ious,
}
DEPTH: Mapping[str, Callable[[], PooledMetric]] = {
    "pooled": DepthMetrics,
    "survey": DepthMetrics,
    "atrc": DepthMetrics,
    "astmt": _image_rmse,
    "libmtl": _raw_errors,
    "mtan": _batch_errors,
    "mtan_before_2020": _batch_errors,
}
NORMALS: Mapping[str, Callable[[], PooledMetric]] = {
    "pooled": NormalMetrics,
    "survey": NormalMetrics,
    "atrc": NormalMetrics,
    "astmt": NormalMetrics,
    "libmtl": NormalMetrics,
    "mtan": _batch_angles,
    "mtan_before_2020": _batch_angles,
}


def segmentation_metrics(
    num_classes: int, ignore_index: int = 255, protocol: str = "pooled"
) -> PooledMetric:
    """New metrics of semantic segmentation.

    Args:
        num_classes: labels run from 0 to `num_classes - 1`.
        ignore_index: label of pixels without a class.
        protocol: whose numbers to compare with.

    Raises:
        ValueError: if the protocol is not known.
    """
    return find_protocol("segmentation_metrics", protocol, SEGMENTATION)(num_classes, ignore_index)


def depth_metrics(protocol: str = "pooled") -> PooledMetric:
    """New metrics of depth.

    Args:
        protocol: whose numbers to compare with.

    Raises:
        ValueError: if the protocol is not known.
    """
    return find_protocol("depth_metrics", protocol, DEPTH)()


def normal_metrics(protocol: str = "pooled") -> PooledMetric:
    """New metrics of surface normals.

    Args:
        protocol: whose numbers to compare with.

    Raises:
        ValueError: if the protocol is not known.
    """
    return find_protocol("normal_metrics", protocol, NORMALS)()
