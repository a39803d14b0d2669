"""Tasks: what a network predicts, how it is trained for it, measured and drawn."""

from lightning_mtl.tasks.attributes import Attributes
from lightning_mtl.tasks.classification import Classification
from lightning_mtl.tasks.depth import Depth
from lightning_mtl.tasks.disparity import Disparity
from lightning_mtl.tasks.edges import Edges
from lightning_mtl.tasks.human_parts import HumanParts
from lightning_mtl.tasks.keypoints import Keypoints
from lightning_mtl.tasks.normals import Normals
from lightning_mtl.tasks.regression import Regression
from lightning_mtl.tasks.saliency import Saliency
from lightning_mtl.tasks.segmentation import Segmentation
from lightning_mtl.tasks.task import Task

__all__ = [
    "Attributes",
    "Classification",
    "Depth",
    "Disparity",
    "Edges",
    "HumanParts",
    "Keypoints",
    "Normals",
    "Regression",
    "Saliency",
    "Segmentation",
    "Task",
]
