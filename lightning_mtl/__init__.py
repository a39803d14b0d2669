"""Multi-task learning for PyTorch Lightning: several losses, one network, one callback."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightning_mtl.version import __version__

if TYPE_CHECKING:
    from lightning_mtl.dense_prediction import DensePrediction
    from lightning_mtl.engine.graph import join_features
    from lightning_mtl.module import MultiTaskModule
    from lightning_mtl.training_step_losses import TrainingStepLosses

__all__ = [
    "DensePrediction",
    "MultiTaskModule",
    "TrainingStepLosses",
    "__version__",
    "join_features",
]

_HOMES = {
    "DensePrediction": "lightning_mtl.dense_prediction",
    "MultiTaskModule": "lightning_mtl.module",
    "TrainingStepLosses": "lightning_mtl.training_step_losses",
    "join_features": "lightning_mtl.engine.graph",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: the command line helps without waiting for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
