"""What `bench_step` compares."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import lightning as L

import lightning_mtl.callbacks as library
from tests.benchmarks.step_modules import Floor, Ours, Plain, TorchJD
from tests.benchmarks.step_networks import Split

PLAIN, FLOOR = "plain Lightning", "floor"


class Variant(NamedTuple):
    """A way to train.

    Attributes:
        module: wraps the network.
        callbacks: makes what is attached to the Trainer.
        estimate: how it estimates the Gramian, "sketch" or "probes"; empty where it does not.
    """

    module: Callable[[Split], L.LightningModule]
    callbacks: Callable[[], list[L.Callback]] = list
    estimate: str = ""


def ours(name: str, **arguments: Any) -> Variant:
    """A callback of this package, built late, since older versions lack some."""
    given = arguments.get("gradients", "")
    estimate = given if given in ("sketch", "probes") else ""
    return Variant(Ours, lambda: [getattr(library, name)(**arguments)], estimate)


def torchjd(aggregator: str) -> Variant:
    return Variant(partial(TorchJD, aggregator=aggregator))


LOSSES_ONLY = (
    "EqualWeighting",
    "UncertaintyWeighting",
    "DWA",
    "IMTLL",
    "STCH",
    "GeometricLoss",
    "RandomWeighting",
)

VARIANTS = {
    PLAIN: Variant(Plain),
    FLOOR: Variant(Floor),
    "none": Variant(Ours),
    **{name: ours(name) for name in LOSSES_ONLY},
    "FAMO": ours("FAMO"),
    "GradNorm": ours("GradNorm"),
    "MGDA": ours("MGDA"),
    "MGDA preconditioned": ours("MGDA", metric="preconditioned"),
    "MGDA last_layer": ours("MGDA", gradients="last_layer"),
    "MGDA features": ours("MGDA", gradients="features"),
    "MGDA sketch": ours("MGDA", gradients="sketch"),
    "MGDA probes": ours("MGDA", gradients="probes"),
    "UPGrad": ours("UPGrad"),
    "PCGrad": ours("PCGrad"),
    "NashMTL": ours("NashMTL"),
    "MaxGNR": ours("MaxGNR", warmup_steps=0),
    "MaxGNR sketch": ours("MaxGNR", warmup_steps=0, gradients="sketch"),
    "AlternatingUpdates": ours("AlternatingUpdates", track_path=False),
    # Measured at each step here; with every_n_steps=50 its extra cost is a fiftieth of this.
    "monitor every step": ours("GradientNoiseMonitor", every_n_steps=1),
    **{f"TorchJD {name}": torchjd(name) for name in ("Mean", "MGDA", "UPGrad", "PCGrad")},
}

SKETCHED = 16
"""Rows of a sketch, the default of `GramianWeighting`."""

_ALIKE = (*LOSSES_ONLY[3:], "FAMO")
LARGE = [name for name in VARIANTS if name not in _ALIKE]
"""What is compared on a large network by default, where rules of the losses all cost the same."""
