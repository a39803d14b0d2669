"""How papers turn a probability into edges and count a score.

| protocol | thresholds                    | edge is | non-maxima | odsF               | distance |
|----------|-------------------------------|---------|------------|--------------------|----------|
| bsds     | 0.01, 0.02, ..., 0.99         | p >= t  | kept       | also between them, | 0.0075   |
|          |                               |         |            | R, P interpolated  |          |
| nyud     | 0.01, 0.02, ..., 0.99         | p >= t  | kept       | as bsds            | 0.011    |
| survey   | 0.01, 0.02, ..., 0.99         | p >= t  | kept       | at thresholds only | 0.0075   |
| astmt    | 0.001, 0.01, ..., 0.99, 0.999 | p > t   | suppressed | at thresholds only | 0.0075   |

The distance is the largest one of a match, as a share of the image diagonal. The edges of NYUv2 are
less exact than those of BSDS500 and PASCAL, so that papers give them 0.011 (Xie and Tu,
"Holistically-Nested Edge Detection", ICCV 2015); "nyud" has the other rules of BSDS500. Where
nothing is predicted, precision is 0 in "bsds" and "nyud" and 1 in the others, which matters to AP.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["PROTOCOLS", "EdgeProtocol"]


@dataclass(frozen=True, kw_only=True)
class EdgeProtocol:
    """One row of the table, whose number of thresholds is that of `EdgeMetrics`.

    Attributes:
        ends: the thresholds before and after those that are evenly spread.
        inclusive: whether a probability equal to the threshold is an edge.
        suppress: whether non-maxima are suppressed before thresholds are applied.
        interpolate: whether odsF looks between thresholds.
        empty_precision: precision where nothing is predicted.
        max_dist: largest distance of a match, as a share of the image diagonal.
    """

    ends: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    inclusive: bool = True
    suppress: bool = False
    interpolate: bool = False
    empty_precision: float = 1
    max_dist: float = 0.0075

    def thresholds(self, wanted: int | Sequence[float]) -> tuple[float, ...]:
        """Those that are wanted, or so many, evenly between 0 and 1, and the protocol's ends.

        Raises:
            ValueError: if there is none, or they are not in ascending order from 0 to 1.
        """
        if isinstance(wanted, int):
            given = [*self.ends[0], *_even(wanted), *self.ends[1]] if wanted > 0 else []
        else:
            given = list(wanted)
        if not given or given != sorted(set(given)) or not 0 <= given[0] <= given[-1] <= 1:
            raise ValueError(
                "`EdgeMetrics(thresholds=)` should be numbers from 0 to 1 in ascending order, or"
                f" how many there are, at least one. Found {wanted}."
            )
        return tuple(given)


def _even(count: int) -> list[float]:
    step = 1 / (count + 1)
    return np.linspace(step, 1 - step, count).tolist()


PROTOCOLS = {
    "bsds": EdgeProtocol(interpolate=True, empty_precision=0),
    "nyud": EdgeProtocol(interpolate=True, empty_precision=0, max_dist=0.011),
    "survey": EdgeProtocol(),
    "astmt": EdgeProtocol(ends=((0.001,), (0.999,)), inclusive=False, suppress=True),
}
