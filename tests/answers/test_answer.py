"""The statistics of an answer, against literal computations."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from lightning_mtl.answers.answer import answer
from tests.answers.examples import MEASURES, planted, with_metric, without_runs


def test_every_task_has_its_mean_and_interval_over_seeds() -> None:
    results = planted()
    summary = answer(results, level=0.9).summary("planted")
    for measure in MEASURES:
        values = [run.metrics[measure.column] for run in results.runs_of("planted")]
        half = stats.t.ppf(0.95, 4) * np.std(values, ddof=1) / math.sqrt(5)
        found = summary.tasks[measure.task]
        assert found.mean == pytest.approx(np.mean(values))
        assert (found.low, found.high) == pytest.approx(
            (np.mean(values) - half, np.mean(values) + half)
        )


def test_the_score_of_a_method_is_the_mean_over_its_runs() -> None:
    found = answer(planted())
    assert found.score is not None
    for summary in found.methods:
        assert summary.score is not None
        assert summary.score.mean == pytest.approx(np.mean(found.score.values[summary.method]))
        assert summary.score.count == 5


def test_planted_differences_from_the_reference_are_found_and_no_others() -> None:
    found = answer(planted())
    larger = {each.first: each.interval.mean for each in found.to_reference if each[-1]}
    assert larger.keys() == {"planted", "worse"}
    assert larger["planted"] == pytest.approx(10, abs=1.5)
    assert larger["worse"] == pytest.approx(-12, abs=1.5)


def test_tests_within_tasks_are_corrected_for_the_number_of_tasks() -> None:
    results = planted({"equal": 0.0, "a": 0.02}, noise=0.01)
    found = answer(results)
    for measure in MEASURES:
        samples = [
            [run.metrics[measure.column] for run in results.runs_of(method)]
            for method in ("a", "equal")
        ]
        p_value = stats.ttest_ind(*samples, equal_var=False).pvalue
        (difference,) = found.by_task[measure.task]
        assert difference.is_larger_than_noise == (3 * p_value <= 0.05)


def test_costs_are_ratios_of_medians_to_the_reference() -> None:
    results = planted()
    slow = tuple(replace(run, step_seconds=100.0) if run.seed == 0 else run for run in results.runs)
    summary = answer(replace(results, runs=slow)).summary("a")
    assert summary.step_time == pytest.approx(1.6)
    assert summary.memory == pytest.approx(1.2)


def test_costs_that_were_not_measured_are_unknown() -> None:
    results = planted()
    runs = tuple(replace(run, step_seconds=None, peak_bytes=0.0) for run in results.runs)
    summary = answer(replace(results, runs=runs)).summary("a")
    assert (summary.step_time, summary.memory) == (None, None)


@pytest.mark.parametrize("value", [math.nan, None])
def test_a_faulty_run_is_named_and_in_no_mean(value: float | None) -> None:
    results = with_metric(planted(), "a", 2, "val/normals/mean", value)
    found = answer(results)
    (sentence,) = found.excluded
    assert sentence.startswith("`a` with seed 2 does not count: `val/normals/mean` is ")
    others = [run.metrics["val/depth/RMSE"] for run in results.runs_of("a") if run.seed != 2]
    assert found.summary("a").tasks["depth"].mean == pytest.approx(np.mean(others))


def test_a_method_without_a_countable_run_stays_in_the_answer() -> None:
    results = planted(seeds=2)
    for seed in (0, 1):
        results = with_metric(results, "a", seed, "val/depth/RMSE", math.nan)
    found = answer(results)
    assert found.summary("a").score is None
    assert found.summary("a").tasks == {}
    assert found.ranking is not None
    assert "a" in found.ranking.ranks


def test_an_unfinished_sweep_has_an_answer() -> None:
    found = answer(without_runs(planted(missing=4), "c", range(1, 5)))
    score = found.summary("c").score
    assert score is not None
    assert math.isinf(score.high)
    assert found.missing == 4


def test_without_a_reference_all_pairs_are_compared_in_each_task() -> None:
    found = answer(planted(reference=None, single_tasks={}))
    assert found.score is None
    assert len(found.by_task["depth"]) == 15
    assert found.to_reference == found.pairs == ()
