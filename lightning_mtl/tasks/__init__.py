"""Tasks: what a network predicts, how it is trained for it, measured and drawn."""

from lightning_mtl.tasks.depth import Depth
from lightning_mtl.tasks.normals import Normals
from lightning_mtl.tasks.segmentation import Segmentation
from lightning_mtl.tasks.task import Task

__all__ = ["Depth", "Normals", "Segmentation", "Task"]
