"""Suggestions: at most two, each with a finding, and none that costs more than it must."""

import pytest

from lightning_mtl.diagnosis.estimates import Estimates
from lightning_mtl.diagnosis.families import families
from lightning_mtl.diagnosis.findings import Finding
from lightning_mtl.diagnosis.gradients import Pair
from lightning_mtl.diagnosis.prices import Price
from lightning_mtl.diagnosis.suggestions import suggest
from lightning_mtl.statistics import Interval

FINDINGS = {
    kind: Finding(kind, ("a", "b"), f"{kind} of a and b")
    for kind in ("non-finite", "unshared", "dead", "dominated", "conflict", "scales", "noise")
}


def estimates(cosine=-0.5):
    interval = Interval(cosine, cosine - 0.05, cosine + 0.05, 15)
    critical = {"a": Interval(1000, 800, 1200, 15), "b": Interval(5, 4, 6, 15)}
    pair = Pair(("a", "b"), interval)
    return Estimates({}, ["a", "b"], {}, [pair], critical, 16.0, 100)


def suggested(*kinds, prices=(), cosine=-0.5):
    return suggest([FINDINGS[kind] for kind in kinds], estimates(cosine), prices)


def prices(**times):
    return [
        Price(family, (times[family.place],) * 3)
        if family.place in times
        else Price(family, None, refusal="no")
        for family in families()
    ]


@pytest.mark.parametrize("kinds", [(), ("scales",), ("noise",)])
def test_equal_weights_are_enough_where_no_weighting_helps(kinds):
    assert suggested(*kinds)[-1].text.startswith("Equal weights are enough")


def test_there_are_at_most_two_and_each_has_its_finding_as_reason():
    found = suggested(*FINDINGS)
    assert len(found) == 1
    found = suggested("dead", "dominated", "conflict", "noise")
    assert [each.reason for each in found] == ["dead of a and b", "dominated of a and b"]
    found = suggested("dominated", "conflict")
    assert [each.reason for each in found] == ["dominated of a and b", "conflict of a and b"]


def test_where_numbers_break_no_weighting_is_suggested():
    (only,) = suggested("non-finite", "dominated")
    assert not only.option


def test_domination_is_answered_by_fixed_weights_first():
    first, second = suggested("dominated")
    assert first.option == "--config tuned.yaml"
    assert second.option.startswith("--weighting ")


@pytest.mark.parametrize(
    ("times", "place"),
    [
        ({"shared": 1.3, "last_layer": 1.1, "features": 1.0}, "shared"),
        ({"shared": 3.0, "last_layer": 1.1, "features": 1.0}, "last_layer"),
        ({"shared": 3.0, "features": 1.0}, "features"),
        ({"shared": 3.0, "last_layer": 2.0}, "last_layer"),
        ({}, "shared"),
    ],
)
def test_conflicts_are_resolved_where_gradients_are_cheap_enough(times, place):
    (only,) = suggested("conflict", prices=prices(**times))
    assert only.option.endswith(f"--weighting.gradients {place}")
    assert ("times as long" in only.text) == (place in times)


def test_a_slight_conflict_calls_for_no_weighting():
    (only,) = suggested("conflict", cosine=-0.06)
    assert only.text.startswith("Equal weights are enough")


def test_noise_is_answered_by_more_samples():
    assert suggested("noise")[0].option == "--trainer.accumulate_grad_batches 8"
