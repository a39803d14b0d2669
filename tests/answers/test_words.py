"""Sentences: they name planted differences, and none in noise."""

from dataclasses import replace

import pytest

from lightning_mtl.answers.answer import answer
from lightning_mtl.answers.words import costs, verdict
from tests.answers.examples import SIX, planted


def test_planted_differences_are_told_with_their_size_and_price() -> None:
    better, worse, leader = verdict(answer(planted()))
    assert better.startswith(
        "Better than `equal` by more than the noise over 5 seeds, in points of Delta_MTL with 95 %"
        " intervals: `planted` +10.2 (+9.3 to +11.1; 1.30 times the step time)."
    )
    assert worse.startswith("Worse than `equal`")
    assert "`worse` -11.5" in worse
    assert leader == "`planted` is better than every other method by more than the noise."


def test_without_a_score_the_reason_is_told() -> None:
    found = answer(planted({"one": 0.0, "two": 0.1}, reference=None, single_tasks={}))
    assert verdict(found) == [
        "There are neither single-task runs nor a reference, hence no Delta_MTL."
    ]


def test_of_noise_it_is_said_that_nothing_is_larger() -> None:
    found = answer(planted(dict.fromkeys(SIX, 0.0)))
    first, room, leader = verdict(found)
    assert first == "No difference is larger than the noise over 5 seeds."
    assert room.startswith("The 95 % intervals leave room for a gain over `equal` of up to ")
    assert "not distinguishable from" in leader
    assert leader.endswith("The cheapest of these is `equal` (1.00 times the step time).")


def test_a_method_that_is_better_than_the_reference_is_told_apart_from_it() -> None:
    # All pairs are more comparisons than those with the reference, and miss this difference.
    found = answer(planted({name: 0.012 if name == "planted" else 0.0 for name in SIX}))
    assert not any(pair.is_larger_than_noise for pair in found.pairs)
    better, leader = verdict(found)
    assert better.startswith("Better than `equal`")
    assert leader.startswith("The best mean Delta_MTL is that of `planted`, not distinguishable")
    assert "`equal`" not in leader


def test_no_method_is_called_better_if_only_others_differ() -> None:
    first, *_ = verdict(answer(planted({"equal": 0.0, "a": 0.0, "worse": -0.2})))
    assert first == "No method is better than `equal` by more than the noise over 5 seeds."


def test_one_seed_is_not_tested() -> None:
    assert verdict(answer(planted(seeds=1))) == [
        "No difference can be tested: it takes two methods with several seeds each."
    ]


def test_costs_span_from_the_cheapest_to_the_dearest() -> None:
    time, memory = costs(answer(planted()))
    assert time == (
        "The step time, relative to `equal`, is from 1.30 times (`planted`) to 2.50 times (`c`)."
    )
    assert memory.startswith("The peak of memory")


@pytest.mark.parametrize("cost", ["step_seconds", "peak_bytes"])
def test_a_cost_that_was_not_measured_is_not_told(cost: str) -> None:
    results = planted()
    runs = tuple(replace(run, **{cost: None}) for run in results.runs)
    (sentence,) = costs(answer(replace(results, runs=runs)))
    assert ("step time" in sentence) == (cost == "peak_bytes")
