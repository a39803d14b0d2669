"""Numbers, intervals and lists in words."""

import math
from collections.abc import Callable, Sequence

from lightning_mtl.statistics import Interval


def number(value: float) -> str:
    """A number to two or three digits, such as 0.34, 12.1 or 3.1e+05."""
    if math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if 100 <= abs(value) < 1e5:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 1 or not value else f"{value:.2g}"


def percent(value: float) -> str:
    """A share in percent, with a digit after the point where it is small."""
    if math.isnan(value):
        return "unknown"
    return f"{100 * value:.1f} %" if 0 < abs(value) < 0.1 else f"{100 * value:.0f} %"


def factor(value: float) -> str:
    """A ratio to two digits."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def interval(estimate: Interval, words: Callable[[float], str]) -> str:
    """An estimate and the ends of its interval, such as "34 % (31 % to 37 %)".

    Args:
        estimate: with its interval.
        words: how each number is written.
    """
    if math.isnan(estimate.mean):
        return "unknown"
    return f"{words(estimate.mean)} ({words(estimate.low)} to {words(estimate.high)})"


def listed(names: Sequence[str]) -> str:
    """Names in backticks, with "and" before the last one."""
    quoted = [f"`{name}`" for name in names]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
