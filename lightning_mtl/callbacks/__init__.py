"""Callbacks for a Trainer: weightings, of which a run has at most one, and monitors."""

from lightning_mtl.mixing.adaptive_mixture import AdaptiveMixture as AdaptiveMixture
from lightning_mtl.monitors.noise_monitor import GradientNoiseMonitor as GradientNoiseMonitor
from lightning_mtl.reports.metric_table import MetricTable as MetricTable
from lightning_mtl.reports.network_table import NetworkTable as NetworkTable
from lightning_mtl.reports.prediction_grid import PredictionGrid as PredictionGrid
from lightning_mtl.reports.prediction_writer import PredictionWriter as PredictionWriter
from lightning_mtl.weightings.adatask import AdaTask as AdaTask
from lightning_mtl.weightings.aligned_mtl import AlignedMTL as AlignedMTL
from lightning_mtl.weightings.alternating.alternating_updates import (
    AlternatingUpdates as AlternatingUpdates,
)
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting as GramianWeighting
from lightning_mtl.weightings.bases.jacobian_weighting import JacobianWeighting as JacobianWeighting
from lightning_mtl.weightings.bases.loss_weighting import LossWeighting as LossWeighting
from lightning_mtl.weightings.bases.weighting import Weighting as Weighting
from lightning_mtl.weightings.cagrad import CAGrad as CAGrad
from lightning_mtl.weightings.config import ConFIG as ConFIG
from lightning_mtl.weightings.dbmtl import DBMTL as DBMTL
from lightning_mtl.weightings.dualproj import DualProj as DualProj
from lightning_mtl.weightings.dwa import DWA as DWA
from lightning_mtl.weightings.dynamic_task_priority import (
    DynamicTaskPriority as DynamicTaskPriority,
)
from lightning_mtl.weightings.equal_weighting import EqualWeighting as EqualWeighting
from lightning_mtl.weightings.excess_mtl import ExcessMTL as ExcessMTL
from lightning_mtl.weightings.fairgrad import FairGrad as FairGrad
from lightning_mtl.weightings.famo import FAMO as FAMO
from lightning_mtl.weightings.fixed_weighting import FixedWeighting as FixedWeighting
from lightning_mtl.weightings.geometric_loss import GeometricLoss as GeometricLoss
from lightning_mtl.weightings.graddrop import GradDrop as GradDrop
from lightning_mtl.weightings.gradnorm import GradNorm as GradNorm
from lightning_mtl.weightings.gradvac import GradVac as GradVac
from lightning_mtl.weightings.imtl import IMTL as IMTL
from lightning_mtl.weightings.imtlg import IMTLG as IMTLG
from lightning_mtl.weightings.imtll import IMTLL as IMTLL
from lightning_mtl.weightings.learning_rate_annealing import (
    LearningRateAnnealing as LearningRateAnnealing,
)
from lightning_mtl.weightings.maxgnr import MaxGNR as MaxGNR
from lightning_mtl.weightings.mgda import MGDA as MGDA
from lightning_mtl.weightings.moco import MoCo as MoCo
from lightning_mtl.weightings.modo import MoDo as MoDo
from lightning_mtl.weightings.nash_mtl import NashMTL as NashMTL
from lightning_mtl.weightings.norm_balance import NormBalance as NormBalance
from lightning_mtl.weightings.ntkmtl import NTKMTL as NTKMTL
from lightning_mtl.weightings.pcgrad import PCGrad as PCGrad
from lightning_mtl.weightings.random_weighting import RandomWeighting as RandomWeighting
from lightning_mtl.weightings.relobralo import ReLoBRaLo as ReLoBRaLo
from lightning_mtl.weightings.sdmgrad import SDMGrad as SDMGrad
from lightning_mtl.weightings.soft_optimal_uncertainty import (
    SoftOptimalUncertainty as SoftOptimalUncertainty,
)
from lightning_mtl.weightings.softadapt import SoftAdapt as SoftAdapt
from lightning_mtl.weightings.stch import STCH as STCH
from lightning_mtl.weightings.torchjd.torchjd_weighting import TorchJDWeighting as TorchJDWeighting
from lightning_mtl.weightings.uncertainty_weighting import (
    UncertaintyWeighting as UncertaintyWeighting,
)
from lightning_mtl.weightings.upgrad import UPGrad as UPGrad
