"""Multi-task learning for PyTorch Lightning: several losses, one network, one callback."""

from lightning_mtl.dense_prediction import DensePrediction
from lightning_mtl.engine.graph import join_features
from lightning_mtl.module import MultiTaskModule
from lightning_mtl.training_step_losses import TrainingStepLosses
from lightning_mtl.version import __version__

__all__ = [
    "DensePrediction",
    "MultiTaskModule",
    "TrainingStepLosses",
    "__version__",
    "join_features",
]
