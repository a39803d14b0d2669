"""An example of every weighting: what the tests of the whole family run over."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

from torch import Tensor

from lightning_mtl.callbacks import (
    MGDA,
    STCH,
    DynamicTaskPriority,
    FairGrad,
    FixedWeighting,
    MaxGNR,
    NormBalance,
    SoftAdapt,
    SoftOptimalUncertainty,
    TorchJDWeighting,
    UncertaintyWeighting,
    Weighting,
)
from lightning_mtl.catalogue import weightings
from tests.support.toy import TASKS

UNAVAILABLE = () if find_spec("torchjd") else ("TorchJDWeighting",)
"""Weightings whose package is not installed: no test, and no script of several ranks, has them."""

# Those that need arguments, or would not leave their warm-up; and places and times to measure.
SPECIAL: dict[str, Callable[..., Weighting]] = {
    "FixedWeighting": lambda **common: FixedWeighting(
        dict(zip(TASKS, (0.5, 2.0, 1.0), strict=True)), **common
    ),
    "UncertaintyWeighting": lambda **common: UncertaintyWeighting(classification=["two"], **common),
    "DynamicTaskPriority": lambda **common: DynamicTaskPriority(
        indicators={"one": "val/one", "two": "val/two"}, **common
    ),
    "STCH": lambda **common: STCH(warmup_epochs=1, **common),
    "FairGrad(priorities)": lambda **common: FairGrad(
        2.0, priorities={"two": 0.5, "three": 0.01}, **common
    ),
    "NormBalance(decay)": lambda **common: NormBalance(decay=0.9, **common),
    "SoftAdapt(cycle)": lambda **common: SoftAdapt(
        beta=1.1, rates="differences", cycle=2, **common
    ),
    "SoftOptimalUncertainty(2)": lambda **common: SoftOptimalUncertainty(temperature=2.0, **common),
    "TorchJDWeighting": lambda **common: TorchJDWeighting(
        import_module("torchjd.aggregation").GradVac(), **common
    ),
    "MGDA(last_layer)": lambda **common: MGDA(gradients="last_layer", **common),
    "MGDA(features)": lambda **common: MGDA(gradients="features", **common),
    "MGDA(every_n_steps)": lambda **common: MGDA(every_n_steps=3, **common),
    "MaxGNR": lambda **common: MaxGNR(warmup_steps=3, **common),
    "MaxGNR(features)": lambda **common: MaxGNR(
        warmup_steps=3, objective="min", gradients="features", **common
    ),
}

# One that steps by itself is no rule of one step, and has tests of its own.
EXAMPLES: dict[str, Callable[..., Weighting]] = {
    name: example
    for name, example in ({kind.__name__: kind for kind in weightings()} | SPECIAL).items()
    if name not in ("AlternatingUpdates", *UNAVAILABLE)
}

ROUTES: dict[str, str] = {
    route: name
    for route, name in {
        "losses of earlier steps": "DWA",
        "losses of this step": "GeometricLoss",
        "losses of validation": "DynamicTaskPriority",
        "losses evaluated twice": "FAMO",
        "learned weights": "UncertaintyWeighting",
        "norms at a layer": "GradNorm",
        "Gramian": "NashMTL",
        "Gramian at a layer": "MGDA(last_layer)",
        "Gramian at the features": "MGDA(features)",
        "Gramian now and then": "MGDA(every_n_steps)",
        "Gramian of parts": "SDMGrad",
        "Gramian and rows": "MaxGNR",
        "Jacobian": "MoCo",
        "Jacobian with weights": "ExcessMTL",
        "TorchJD": "TorchJDWeighting",
    }.items()
    if name in EXAMPLES
}
"""Every way from the losses to the gradients, with a weighting that takes it."""

OFTEN_EQUAL = (
    "none",
    "EqualWeighting",
    "GradVac",
    "PCGrad",
    "TorchJDWeighting",
    "AlternatingUpdates",
)
"""Of weights of 1, always or in a step without a conflict; TorchJD's rule here is a `GradVac`."""


PRIOR = {"one": 2.5, "three": 0.4}
"""Prior weights of the toy's tasks, of which one has none."""

IN_LOSSES: dict[str, Callable[[], Weighting]] = {
    "FairGrad(priorities)": lambda: FairGrad(
        2.0, priorities={"two": 0.5, "three": 0.01 * PRIOR["three"]}
    ),
}
"""Weightings that are given losses, where the prior weights are part of the losses instead."""


def has_moved(name: str, weights: Tensor) -> bool:
    """Whether the weights, if there are any, have left those of equal weighting."""
    if name in OFTEN_EQUAL or not weights.numel():
        return True
    return bool((weights - 1).abs().max() > 1e-4)
