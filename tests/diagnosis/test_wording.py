"""Numbers and lists in words."""

import math

import pytest

from lightning_mtl.diagnosis.wording import factor, interval, listed, number, percent
from lightning_mtl.statistics import Interval


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.3456, "0.35"),
        (12.34, "12.3"),
        (1234.5, "1234"),
        (2.5e6, "2.5e+06"),
        (math.inf, "∞"),
        (-math.inf, "-∞"),
        (math.nan, "unknown"),
    ],
    ids=["zero", "small", "tens", "thousands", "millions", "infinite", "minus infinite", "unknown"],
)
def test_numbers_have_two_or_three_digits(value, text):
    assert number(value) == text


def test_shares_are_in_percent():
    assert [percent(value) for value in (0, 0.034, 0.5, 1)] == ["0 %", "3.4 %", "50 %", "100 %"]
    assert percent(math.nan) == "unknown"


def test_factors_have_two_digits():
    assert (factor(1.234), factor(25.2)) == ("1.2", "25")


def test_an_interval_stands_in_brackets():
    assert interval(Interval(0.5, 0.25, math.inf, 3), number) == "0.5 (0.25 to ∞)"
    assert interval(Interval(math.nan, -1, 1, 3), number) == "unknown"


def test_names_are_listed_with_and():
    assert listed(["a"]) == "`a`"
    assert listed(["a", "b"]) == "`a` and `b`"
    assert listed(["a", "b", "c"]) == "`a`, `b` and `c`"
