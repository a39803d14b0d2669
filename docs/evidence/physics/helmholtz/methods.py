"""What is compared: the weightings with their defaults, and a grid of fixed weights."""

from collections.abc import Callable

from lightning_mtl.callbacks import (
    ConFIG,
    EqualWeighting,
    FixedWeighting,
    GradNorm,
    NormBalance,
    ReLoBRaLo,
    SoftAdapt,
    UPGrad,
    Weighting,
)

EQUAL, FIXED = "equal", "fixed"
GRID = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""Weights of the residual; boundary and sensors have a weight of 1."""
LEARNING_RATES = (3e-3, 1e-2)
"""Each method is tried with each of them."""

BUILDERS: dict[str, Callable[[], Weighting]] = {
    EQUAL: EqualWeighting,
    "relobralo": ReLoBRaLo,
    "softadapt": SoftAdapt,
    "norm_balance": NormBalance,
    "gradnorm": GradNorm,
    "config": ConFIG,
    "upgrad": UPGrad,
}
METHODS = (EQUAL, FIXED, *(name for name in BUILDERS if name != EQUAL))


def weighting(method: str, residual: float | None = None) -> Weighting:
    """A new weighting for one run.

    Args:
        method: one of `METHODS`.
        residual: the weight of the residual, of fixed weights.
    """
    if method != FIXED:
        return BUILDERS[method]()
    if residual is None:
        raise ValueError(
            "`weighting(residual=)` should be the weight of the residual where weights are fixed."
            f" Found none. Give one, such as {GRID[0]}."
        )
    return FixedWeighting({"residual": residual, "boundary": 1.0, "data": 1.0})
