"""Numbers as text."""

import math

import pytest

from lightning_mtl.answers.cells import interval, listed, number, settings_text, times
from lightning_mtl.statistics import Interval


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (0.51794, 0.00913, "0.5179 ± 0.0091"),
        (24.0416, 0.2312, "24.04 ± 0.23"),
        (0.609, 0.0121, "0.609 ± 0.012"),
        (1234.5, 87.0, "1234 ± 87"),
        (0.5, 0.0, "0.5000 ± 0.0000"),
        (0.123456, math.inf, "0.1235"),
    ],
    ids=["below one", "above ten", "rounded", "thousands", "no spread", "unknown"],
)
def test_the_half_width_has_two_significant_digits(mean: float, half: float, text: str) -> None:
    assert interval(Interval(mean, mean - half, mean + half, 3)) == text


def test_a_percentage_has_its_sign() -> None:
    assert interval(Interval(1.25, 1.0, 1.5, 3), sign=True) == "+1.25 ± 0.25"
    assert interval(Interval(-0.051, -math.inf, math.inf, 1), sign=True) == "-0.05"


def test_what_is_not_known_is_a_dash() -> None:
    assert {interval(None), number(None), number(math.nan), times(None), settings_text({})} == {"–"}


def test_settings_are_one_line() -> None:
    settings = {"learning rate": 2.0, "weights": {"depth": 0.123456, "edges": 1}}
    assert settings_text(settings) == "learning rate: 2; weights: depth 0.1235, edges 1"


def test_long_lists_of_names_end_in_a_count() -> None:
    assert listed(["a"]) == "`a`"
    assert listed(["a", "b", "c"], most=2) == "`a`, `b` and `c`"
    assert listed(["a", "b", "c", "d"], most=2) == "`a`, `b` and 2 others"
