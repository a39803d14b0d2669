"""How numbers are written in tables and sentences."""

import math
from collections.abc import Mapping, Sequence

from lightning_mtl.statistics.intervals import Interval

NONE = "–"
"""Where there is no number."""


def number(value: float | None, digits: int = 3) -> str:
    """A number with some significant digits and without an exponent; a dash for `None`.

    Example:
        >>> number(0.012345), number(1234.5), number(None)
        ('0.0123', '1234', '–')
    """
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.{_decimals(value, digits)}f}"


def interval(found: Interval | None, sign: bool = False) -> str:
    """A mean and the half width of its interval, which has two significant digits.

    Args:
        found: the interval; a dash for `None`. One value has no interval: it is written alone.
        sign: for percentages: positive numbers have a plus.
    """
    if found is None:
        return NONE
    plus = "+" if sign else ""
    half = found.half_width
    if not math.isfinite(half):
        return f"{found.mean:{plus}.{2 if sign else _decimals(found.mean, 4)}f}"
    decimals = min(_decimals(half, 2), 4 + _decimals(found.mean, 1)) if half else 4
    return f"{found.mean:{plus}.{decimals}f} ± {half:.{decimals}f}"


def times(ratio: float | None) -> str:
    """A ratio of costs, such as `1.25 ×`."""
    return NONE if ratio is None else f"{number(ratio)} ×"


def setting(value: object) -> str:
    """The value of a setting, short."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {setting(item)}" for key, item in value.items())
    return str(value)


def settings_text(settings: Mapping[str, object]) -> str:
    """All settings of a method on one line; a dash if there are none."""
    return "; ".join(f"{key}: {setting(value)}" for key, value in settings.items()) or NONE


def listed(names: Sequence[str], most: int | None = None) -> str:
    """Names in backticks, as in a sentence: the last one after "and".

    Args:
        names: of methods.
        most: how many to name; the rest is counted.
    """
    quoted = [f"`{name}`" for name in names]
    if most is not None and len(names) > most + 1:
        quoted = [*quoted[:most], f"{len(names) - most} others"]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if quoted[1:] else quoted)


def _decimals(value: float, digits: int) -> int:
    """How many decimals give a number that many significant digits."""
    if not value or not math.isfinite(value):
        return digits - 1
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))
