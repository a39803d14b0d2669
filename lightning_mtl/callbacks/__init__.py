"""Callbacks for a Trainer: weightings, of which a run has at most one, and monitors."""

from lightning_mtl.callbacks.dwa import DWA
from lightning_mtl.callbacks.equal import EqualWeighting
from lightning_mtl.callbacks.fixed import FixedWeighting
from lightning_mtl.callbacks.gradient_weighting import GramianWeighting, JacobianWeighting
from lightning_mtl.callbacks.gradnorm import GradNorm
from lightning_mtl.callbacks.mgda import MGDA
from lightning_mtl.callbacks.pictures import PredictionGrid
from lightning_mtl.callbacks.summary import MetricTable
from lightning_mtl.callbacks.uncertainty import UncertaintyWeighting
from lightning_mtl.callbacks.weighting import LossWeighting, Weighting

__all__ = [
    "DWA",
    "MGDA",
    "EqualWeighting",
    "FixedWeighting",
    "GradNorm",
    "GramianWeighting",
    "JacobianWeighting",
    "LossWeighting",
    "MetricTable",
    "PredictionGrid",
    "UncertaintyWeighting",
    "Weighting",
]
