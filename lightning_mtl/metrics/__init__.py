"""Metrics of dense prediction, pooled over the valid pixels of a data set."""

from lightning_mtl.metrics.depth import DepthMetrics
from lightning_mtl.metrics.edges import EdgeMetrics
from lightning_mtl.metrics.normals import NormalMetrics
from lightning_mtl.metrics.performance import multi_task_performance
from lightning_mtl.metrics.segmentation import SegmentationMetrics

__all__ = [
    "DepthMetrics",
    "EdgeMetrics",
    "NormalMetrics",
    "SegmentationMetrics",
    "multi_task_performance",
]
