"""One example of every weighting: what the tests of the whole family run over."""

from collections.abc import Callable

from lightning_mtl import callbacks
from lightning_mtl.callbacks import (
    DWA,
    MGDA,
    AlternatingUpdates,
    MaxGNR,
    EqualWeighting,
    FixedWeighting,
    GradNorm,
    UncertaintyWeighting,
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
