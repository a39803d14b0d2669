"""Results: what they refuse."""

from dataclasses import replace

import pytest

from lightning_mtl.answers.records import Measure
from tests.answers.examples import planted


def test_methods_are_in_the_order_of_their_first_runs() -> None:
    results = planted()
    assert results.methods == ("equal", "planted", "a", "b", "worse", "c")
    assert [run.seed for run in results.runs_of("a")] == [0, 1, 2, 3, 4]


def test_a_measure_is_titled_by_its_task_and_metric() -> None:
    assert Measure("depth", "val/depth/RMSE", False).title == "depth RMSE"
    assert Measure("depth", "val/depth", False).title == "depth"


def test_results_without_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one run"):
        replace(planted(), runs=(), reference=None)


def test_two_measures_of_a_task_are_refused() -> None:
    results = planted()
    with pytest.raises(ValueError, match="one measure for each task"):
        replace(results, measures=(results.measures[0],) * 2)


def test_two_runs_with_the_same_method_and_seed_are_refused() -> None:
    results = planted()
    with pytest.raises(ValueError, match=r"Found several for \[\('equal', 0\)\]"):
        replace(results, runs=(*results.runs, results.runs[0]))


def test_a_reference_without_runs_is_refused() -> None:
    with pytest.raises(ValueError, match="`reference` should be one of the methods"):
        planted(reference="sum")
