"""One example of everything that `torchjd.aggregation` has, for the three tasks of the toy."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

jd: Any = pytest.importorskip("torchjd.aggregation", reason="the extra `torchjd` is not installed")

FIXED = torch.tensor([0.5, 2.0, 1.0])

OBJECTS: dict[str, Callable[[], nn.Module]] = {
    "AlignedMTL": lambda: jd.AlignedMTL(),
    "AlignedMTLWeighting": lambda: jd.AlignedMTLWeighting(),
    "CAGrad": lambda: jd.CAGrad(c=0.4),
    "CAGradWeighting": lambda: jd.CAGradWeighting(c=0.4),
    "ConFIG": lambda: jd.ConFIG(),
    "Constant": lambda: jd.Constant(FIXED),
    "ConstantWeighting": lambda: jd.ConstantWeighting(FIXED),
    "CRMOGMWeighting": lambda: jd.CRMOGMWeighting(jd.MGDAWeighting()),
    "DualProj": lambda: jd.DualProj(),
    "DualProjWeighting": lambda: jd.DualProjWeighting(),
    "ExcessMTL": lambda: jd.ExcessMTL(n_warmup_steps=2),
    "ExcessMTLWeighting": lambda: jd.ExcessMTLWeighting(n_warmup_steps=2),
    "FairGrad": lambda: jd.FairGrad(alpha=2.0),
    "FairGradWeighting": lambda: jd.FairGradWeighting(alpha=2.0),
    "GradDrop": lambda: jd.GradDrop(),
    "GradVac": lambda: jd.GradVac(),
    "GradVacWeighting": lambda: jd.GradVacWeighting(),
    "GramianWeightedAggregator": lambda: jd.GramianWeightedAggregator(
        jd.CRMOGMWeighting(jd.GradVacWeighting())
    ),
    "IMTLG": lambda: jd.IMTLG(),
    "IMTLGWeighting": lambda: jd.IMTLGWeighting(),
    "Krum": lambda: jd.Krum(n_byzantine=0),
    "KrumWeighting": lambda: jd.KrumWeighting(n_byzantine=0),
    "Mean": lambda: jd.Mean(),
    "MeanWeighting": lambda: jd.MeanWeighting(),
    "MGDA": lambda: jd.MGDA(),
    "MGDAWeighting": lambda: jd.MGDAWeighting(),
    "MoDoWeighting": lambda: jd.MoDoWeighting(),
    "NashMTL": lambda: jd.NashMTL(n_tasks=3, update_weights_every=2),
    "PCD": lambda: jd.PCD(),
    "PCDWeighting": lambda: jd.PCDWeighting(),
    "PCGrad": lambda: jd.PCGrad(),
    "PCGradWeighting": lambda: jd.PCGradWeighting(),
    "Random": lambda: jd.Random(),
    "RandomWeighting": lambda: jd.RandomWeighting(),
    "SDMGradWeighting": lambda: jd.SDMGradWeighting(),
    "Sum": lambda: jd.Sum(),
    "SumWeighting": lambda: jd.SumWeighting(),
    "TrimmedMean": lambda: jd.TrimmedMean(trim_number=1),
    "UPGrad": lambda: jd.UPGrad(),
    "UPGradWeighting": lambda: jd.UPGradWeighting(),
    "WeightedAggregator": lambda: jd.WeightedAggregator(
        jd.CRMOGMWeighting(jd.ExcessMTLWeighting())
    ),
}

STATEFUL = (
    "CRMOGMWeighting",
    "ExcessMTL",
    "ExcessMTLWeighting",
    "GradVac",
    "GradVacWeighting",
    "GramianWeightedAggregator",
    "MoDoWeighting",
    "NashMTL",
    "PCD",
    "PCDWeighting",
    "SDMGradWeighting",
    "WeightedAggregator",
)

WITHOUT_WEIGHTS = ("ConFIG", "GradDrop", "TrimmedMean")

# cvxpy's advice on the problem that NashMTL states.
not_dpp = pytest.mark.filterwarnings("ignore:You are solving a parameterized problem:UserWarning")


def build(name: str) -> nn.Module:
    """The example, unless it needs a solver that is not installed; it says so itself."""
    try:
        return OBJECTS[name]()
    except ImportError as missing:
        pytest.skip(str(missing))
