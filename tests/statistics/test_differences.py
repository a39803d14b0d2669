import math

import numpy as np
import pytest
from scipy import stats

from lightning_mtl.statistics import compare_pairs, compare_with
from lightning_mtl.statistics.differences import holm, welch_test


def literal_holm(p_values: list[float], alpha: float) -> list[bool]:
    """Which hypotheses are rejected, step by step: Holm 1979, section 3."""
    rejected = [False] * len(p_values)
    waiting = list(range(len(p_values)))
    while waiting:
        smallest = min(waiting, key=lambda index: p_values[index])
        if p_values[smallest] > alpha / len(waiting):
            break
        rejected[smallest] = True
        waiting.remove(smallest)
    return rejected


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_adjusted_p_values_reject_what_the_stepwise_procedure_rejects(alpha: float) -> None:
    generator = np.random.default_rng(0)
    for tests in [1, 2, 3, 6, 15] * 40:
        p_values = generator.uniform(0, 1, tests) ** 3
        found = (holm(p_values) <= alpha).tolist()
        assert found == literal_holm(p_values.tolist(), alpha)


def test_adjusted_p_values_are_those_of_a_worked_example() -> None:
    np.testing.assert_allclose(
        holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02], rtol=1e-12
    )


def test_tests_that_were_not_made_do_not_count() -> None:
    adjusted = holm(np.array([0.02, math.nan, 0.6, math.nan]))
    np.testing.assert_allclose(adjusted, [0.04, math.nan, 0.6, math.nan])


def test_the_test_and_the_interval_are_those_of_scipy() -> None:
    generator = np.random.default_rng(1)
    for sizes in [(2, 2), (3, 7), (10, 4)]:
        first, second = generator.normal(1, 5, sizes[0]), generator.normal(0, 0.3, sizes[1])
        interval, p_value = welch_test(first, second, 0.9)
        expected = stats.ttest_ind(first, second, equal_var=False)
        ends = expected.confidence_interval(0.9)
        assert p_value == pytest.approx(expected.pvalue)
        np.testing.assert_allclose(interval[1:3], [ends.low, ends.high])
        assert interval.mean == pytest.approx(first.mean() - second.mean())
        assert interval.count == min(sizes)


def test_pairs_come_in_the_order_of_the_names() -> None:
    samples = {name: [1.0, 2.0, 3.0] for name in ("c", "a", "b")}
    pairs = [(each.first, each.second) for each in compare_pairs(samples)]
    assert pairs == [("c", "a"), ("c", "b"), ("a", "b")]


def test_p_values_of_pairs_are_adjusted_and_their_intervals_are_not() -> None:
    generator = np.random.default_rng(2)
    samples = {name: generator.normal(index, 1, 4).tolist() for index, name in enumerate("abcd")}
    found = compare_pairs(samples)
    tests = [
        welch_test(np.array(samples[each.first]), np.array(samples[each.second]), 0.95)
        for each in found
    ]
    assert [each.interval for each in found] == [interval for interval, _ in tests]
    rejected = literal_holm([p_value for _, p_value in tests], 0.05)
    assert [each.is_larger_than_noise for each in found] == rejected
    assert any(rejected) and not all(rejected)


def test_equal_methods_rarely_differ() -> None:
    """The rate over all ten pairs of five methods; 1000 draws have a deviation of 0.7 points."""
    alarms = 0
    for seed in range(1000):
        values = np.random.default_rng(seed).normal(size=(5, 3))
        found = compare_pairs(dict(zip("abcde", values, strict=True)))
        alarms += any(each.is_larger_than_noise for each in found)
    assert alarms / 1000 < 0.07


def test_a_planted_difference_is_found_and_no_other() -> None:
    values = np.random.default_rng(3).normal(size=(4, 5))
    values[2] += 10
    found = compare_pairs(dict(zip("abcd", values, strict=True)))
    larger = {(each.first, each.second) for each in found if each.is_larger_than_noise}
    assert larger == {("a", "c"), ("b", "c"), ("c", "d")}


def test_a_reference_is_compared_with_all_others_only() -> None:
    samples = {"a": [1.0, 1.5, 1.2], "sum": [0.0, 0.2, 0.1], "b": [0.4, 0.6, 0.3]}
    found = compare_with("sum", samples)
    assert [(each.first, each.second) for each in found] == [("a", "sum"), ("b", "sum")]
    assert found[0].interval.mean > 0
    assert found[0].p_value < compare_pairs(samples)[0].p_value


def test_an_unknown_reference_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"should be one of \['a', 'b'\]. Found 'c'"):
        compare_with("c", {"a": [1.0], "b": [2.0]})


@pytest.mark.parametrize(
    "samples",
    [
        {"a": [1.0], "b": [5.0, 5.1, 5.2]},
        {"a": [1.0], "b": [5.0]},
        {"a": [1.0, 1.0], "b": [5.0, 5.0]},
    ],
    ids=["one value on a side", "one value each", "no spread"],
)
def test_without_an_estimate_of_the_noise_there_is_no_test(samples: dict) -> None:
    [pair] = compare_pairs(samples)
    assert math.isnan(pair.p_value)
    assert pair.interval.half_width == math.inf
    assert pair.is_larger_than_noise is False


def test_a_method_with_one_value_does_not_weaken_the_others() -> None:
    samples = {"a": [1.0, 1.1, 1.3], "b": [2.0, 2.2, 1.9]}
    [alone] = compare_pairs(samples)
    assert compare_pairs(samples | {"c": [7.0]})[0] == alone


def test_one_method_may_have_no_spread() -> None:
    [pair] = compare_pairs({"a": [1.0, 1.0, 1.0], "b": [5.0, 5.1, 5.2]})
    assert pair.is_larger_than_noise is True


@pytest.mark.parametrize("samples", [{}, {"a": [1.0, 2.0]}], ids=["no method", "one method"])
def test_fewer_than_two_methods_have_no_pairs(samples: dict) -> None:
    assert compare_pairs(samples) == []


def test_a_method_without_values_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"at least one value for each method.*\['b'\]"):
        compare_pairs({"a": [1.0], "b": []})


def test_a_value_that_is_not_finite_is_an_error_that_names_its_method() -> None:
    with pytest.raises(ValueError, match=r"samples\['b'\]=\)` should be finite. Found nan"):
        compare_pairs({"a": [1.0, 2.0], "b": [1.0, math.nan]})
