"""One example of every weighting: what the tests of the whole family run over."""

from collections.abc import Callable

import pytest

from lightning_mtl import callbacks
from lightning_mtl.callbacks import (
    DBMTL,
    DWA,
    FAMO,
    IMTL,
    IMTLG,
    IMTLL,
    MGDA,
    STCH,
    AlignedMTL,
    CAGrad,
    ConFIG,
    DualProj,
    DynamicTaskPriority,
    EqualWeighting,
    ExcessMTL,
    FairGrad,
    FixedWeighting,
    GeometricLoss,
    GradDrop,
    GradNorm,
    GradVac,
    MaxGNR,
    MoCo,
    MoDo,
    NashMTL,
    PCGrad,
    RandomWeighting,
    SDMGrad,
    TorchJDWeighting,
    UncertaintyWeighting,
    UPGrad,
    Weighting,
)
from tests.toy import TASKS

EXAMPLES: dict[str, Callable[[], Weighting]] = {
    "EqualWeighting": EqualWeighting,
    "FixedWeighting": lambda: FixedWeighting(dict(zip(TASKS, (0.5, 2.0, 1.0), strict=True))),
    "UncertaintyWeighting": lambda: UncertaintyWeighting(classification=["two"]),
    "DWA": DWA,
    "GradNorm": GradNorm,
    "MGDA": MGDA,
    "AlignedMTL": AlignedMTL,
    "CAGrad": CAGrad,
    "ConFIG": ConFIG,
    "DBMTL": DBMTL,
    "DualProj": DualProj,
    "DynamicTaskPriority": lambda: DynamicTaskPriority(
        indicators={"one": "val/one", "two": "val/two"}
    ),
    "ExcessMTL": ExcessMTL,
    "FAMO": FAMO,
    "FairGrad": FairGrad,
    "GeometricLoss": GeometricLoss,
    "GradDrop": GradDrop,
    "GradVac": GradVac,
    "IMTL": IMTL,
    "IMTLG": IMTLG,
    "IMTLL": IMTLL,
    "MoCo": MoCo,
    "MoDo": MoDo,
    "NashMTL": NashMTL,
    "PCGrad": PCGrad,
    "RandomWeighting": RandomWeighting,
    "SDMGrad": SDMGrad,
    "STCH": lambda: STCH(warmup_epochs=1),
    "TorchJDWeighting": lambda: TorchJDWeighting(
        pytest.importorskip("torchjd.aggregation").GradVac()
    ),
    "UPGrad": UPGrad,
    "MGDA(last_layer)": lambda: MGDA(gradients="last_layer"),
    "MGDA(features)": lambda: MGDA(gradients="features"),
    "MGDA(every_n_steps)": lambda: MGDA(every_n_steps=3),
    "MaxGNR": lambda: MaxGNR(warmup_steps=3),
    "MaxGNR(features)": lambda: MaxGNR(warmup_steps=3, objective="min", gradients="features"),
}


def test_every_weighting_of_the_package_has_an_example():
    names = {
        name
        for name in callbacks.__all__
        if isinstance(kind := getattr(callbacks, name), type)
        and issubclass(kind, Weighting)
        and not kind.__abstractmethods__
    }
    assert names == {type(build()).__name__ for build in EXAMPLES.values()}
