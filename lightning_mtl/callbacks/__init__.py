"""Callbacks for a Trainer: weightings, of which a run has at most one, and monitors."""

from lightning_mtl.callbacks.aligned_mtl import AlignedMTL
from lightning_mtl.callbacks.alternating import AlternatingUpdates
from lightning_mtl.callbacks.cagrad import CAGrad
from lightning_mtl.callbacks.config import ConFIG
from lightning_mtl.callbacks.dbmtl import DBMTL
from lightning_mtl.callbacks.dualproj import DualProj
from lightning_mtl.callbacks.dwa import DWA
from lightning_mtl.callbacks.dynamic_task_priority import DynamicTaskPriority
from lightning_mtl.callbacks.equal import EqualWeighting
from lightning_mtl.callbacks.excess_mtl import ExcessMTL
from lightning_mtl.callbacks.fairgrad import FairGrad
from lightning_mtl.callbacks.famo import FAMO
from lightning_mtl.callbacks.fixed import FixedWeighting
from lightning_mtl.callbacks.geometric import GeometricLoss
from lightning_mtl.callbacks.graddrop import GradDrop
from lightning_mtl.callbacks.gradnorm import GradNorm
from lightning_mtl.callbacks.gradvac import GradVac
from lightning_mtl.callbacks.gramian_weighting import GramianWeighting
from lightning_mtl.callbacks.imtl import IMTL
from lightning_mtl.callbacks.imtlg import IMTLG
from lightning_mtl.callbacks.imtll import IMTLL
from lightning_mtl.callbacks.jacobian_weighting import JacobianWeighting
from lightning_mtl.callbacks.loss_weighting import LossWeighting
from lightning_mtl.callbacks.maxgnr import MaxGNR
from lightning_mtl.callbacks.mgda import MGDA
from lightning_mtl.callbacks.moco import MoCo
from lightning_mtl.callbacks.modo import MoDo
from lightning_mtl.callbacks.nash_mtl import NashMTL
from lightning_mtl.callbacks.noise_monitor import GradientNoiseMonitor
from lightning_mtl.callbacks.pcgrad import PCGrad
from lightning_mtl.callbacks.pictures import PredictionGrid
from lightning_mtl.callbacks.predictions import PredictionWriter
from lightning_mtl.callbacks.random import RandomWeighting
from lightning_mtl.callbacks.sdmgrad import SDMGrad
from lightning_mtl.callbacks.stch import STCH
from lightning_mtl.callbacks.summary import MetricTable
from lightning_mtl.callbacks.torchjd import TorchJDWeighting
from lightning_mtl.callbacks.uncertainty import UncertaintyWeighting
from lightning_mtl.callbacks.upgrad import UPGrad
from lightning_mtl.callbacks.weighting import Weighting

__all__ = [
    "DBMTL",
    "DWA",
    "FAMO",
    "IMTL",
    "IMTLG",
    "IMTLL",
    "MGDA",
    "STCH",
    "AlignedMTL",
    "AlternatingUpdates",
    "CAGrad",
    "ConFIG",
    "DualProj",
    "DynamicTaskPriority",
    "EqualWeighting",
    "ExcessMTL",
    "FairGrad",
    "FixedWeighting",
    "GeometricLoss",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "GradientNoiseMonitor",
    "GramianWeighting",
    "JacobianWeighting",
    "LossWeighting",
    "MaxGNR",
    "MetricTable",
    "MoCo",
    "MoDo",
    "NashMTL",
    "PCGrad",
    "PredictionGrid",
    "PredictionWriter",
    "RandomWeighting",
    "SDMGrad",
    "TorchJDWeighting",
    "UPGrad",
    "UncertaintyWeighting",
    "Weighting",
]
