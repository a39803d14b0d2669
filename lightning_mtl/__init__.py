"""Multi-task learning for PyTorch Lightning: several losses, one network, one callback."""

from lightning_mtl.dense_prediction import DensePrediction
from lightning_mtl.module import MultiTaskModule

__all__ = ["DensePrediction", "MultiTaskModule"]
