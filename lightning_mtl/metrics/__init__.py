"""Metrics of dense prediction, over the valid pixels of a data set.

Numbers of different papers are comparable only under the same protocol. Tasks and metrics take the
name of one; an unknown one is an error that lists those known.

| what         | protocols                          | table of differences                         |
|--------------|------------------------------------|----------------------------------------------|
| segmentation | pooled (default), survey, atrc,    | `lightning_mtl.metrics.protocols`, with      |
| depth        | astmt, libmtl, mtan,               | `segmentation_metrics`, `depth_metrics`,     |
| normals      | mtan_before_2020                   | `normal_metrics`                             |
| saliency     | survey (default), astmt, atrc      | `SaliencyMetrics`                            |
| edges        | bsds (default), nyud, survey, astmt| `lightning_mtl.metrics.edges.edge_protocols` |
| others       | one definition each                |                                              |

The task `Edges` follows the survey unless told otherwise. The survey's columns are mIoU of
segmentation, human parts and saliency, RMSE of depth, mean angle of normals, and odsF of edges;
`multi_task_performance` makes one number of them.
"""

from lightning_mtl.metrics.attributes import AttributeMetrics
from lightning_mtl.metrics.averaged import AveragedMetric
from lightning_mtl.metrics.classification import ClassificationMetrics
from lightning_mtl.metrics.depth import DepthMetrics
from lightning_mtl.metrics.edges.edge_metrics import EdgeMetrics
from lightning_mtl.metrics.keypoints import KeypointMetrics
from lightning_mtl.metrics.mean_loss import MeanLoss
from lightning_mtl.metrics.normals import NormalMetrics
from lightning_mtl.metrics.performance import multi_task_performance
from lightning_mtl.metrics.pooled import PooledMetric
from lightning_mtl.metrics.protocols import depth_metrics, normal_metrics, segmentation_metrics
from lightning_mtl.metrics.regression import RegressionMetrics
from lightning_mtl.metrics.saliency import SaliencyMetrics
from lightning_mtl.metrics.segmentation import SegmentationMetrics

__all__ = [
    "AttributeMetrics",
    "AveragedMetric",
    "ClassificationMetrics",
    "DepthMetrics",
    "EdgeMetrics",
    "KeypointMetrics",
    "MeanLoss",
    "NormalMetrics",
    "PooledMetric",
    "RegressionMetrics",
    "SaliencyMetrics",
    "SegmentationMetrics",
    "depth_metrics",
    "multi_task_performance",
    "normal_metrics",
    "segmentation_metrics",
]
