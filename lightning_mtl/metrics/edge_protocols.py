"""How papers turn a probability into edges and count a score.

| protocol | thresholds                     | edge is | non-maxima | odsF                |
|----------|--------------------------------|---------|------------|---------------------|
| bsds     | 0.01, 0.02, ..., 0.99          | p >= t  | kept       | also between those, |
|          |                                |         |            | R and P interpolated|
| survey   | 0.01, 0.02, ..., 0.99          | p >= t  | kept       | at thresholds only  |
| astmt    | 0.001, 0.01, ..., 0.99, 0.999  | p > t   | suppressed | at thresholds only  |

Where nothing is predicted, precision is 0 in "bsds" and 1 in the others, which matters to AP.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["PROTOCOLS", "EdgeProtocol", "ascending"]


@dataclass(frozen=True, kw_only=True)
class EdgeProtocol:
    """One row of the table.

    Attributes:
        thresholds: In ascending order.
        inclusive: Whether a probability equal to the threshold is an edge.
        suppress: Whether non-maxima are suppressed before thresholds are applied.
        interpolate: Whether odsF looks between thresholds.
        empty_precision: Precision where nothing is predicted.
    """

    thresholds: tuple[float, ...]
    inclusive: bool = True
    suppress: bool = False
    interpolate: bool = False
    empty_precision: float = 1


def ascending(thresholds: int | Sequence[float]) -> tuple[float, ...]:
    """The thresholds, or so many of them, evenly between 0 and 1.

    Raises:
        ValueError: If there is none, or they are not in ascending order.
    """
    if isinstance(thresholds, int):
        step = 1 / (thresholds + 1)
        given = np.linspace(step, 1 - step, thresholds).tolist()
    else:
        given = list(thresholds)
    if not given or given != sorted(set(given)):
        raise ValueError(
            "`EdgeMetrics` expects `thresholds` in ascending order, or how many there are, at "
            f"least one. Found {thresholds}."
        )
    return tuple(given)


PROTOCOLS = {
    "bsds": EdgeProtocol(thresholds=ascending(99), interpolate=True, empty_precision=0),
    "survey": EdgeProtocol(thresholds=ascending(99)),
    "astmt": EdgeProtocol(
        thresholds=(0.001, *ascending(99), 0.999), inclusive=False, suppress=True
    ),
}
