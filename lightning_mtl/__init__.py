"""Multi-task learning for PyTorch Lightning: several losses, one network, one callback."""

from lightning_mtl.dense_prediction import DensePrediction
from lightning_mtl.graph import join_features
from lightning_mtl.module import MultiTaskModule

__all__ = ["DensePrediction", "MultiTaskModule", "join_features"]
