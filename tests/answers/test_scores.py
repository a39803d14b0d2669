"""Delta_MTL of runs, and what is said where there is none."""

import math
from dataclasses import replace

import numpy as np
import pytest

from lightning_mtl.answers.scores import counted_runs, faults, score
from tests.answers.examples import planted, with_metric


def test_delta_mtl_is_that_of_every_run_over_the_means_of_the_single_task_runs() -> None:
    results = planted()
    found, remark = score(results)
    assert found is not None
    assert (found.name, remark) == ("Delta_MTL", "")
    for method in results.methods:
        for run, value in zip(results.runs_of(method), found.values[method], strict=True):
            gains = []
            for measure in results.measures:
                baseline = np.mean(results.single_tasks[measure.task])
                change = run.metrics[measure.column] / baseline - 1
                gains.append(change if measure.higher_is_better else -change)
            assert value == pytest.approx(100 * np.mean(gains))


def test_without_single_task_runs_gains_are_over_the_reference_whose_own_are_0_in_the_mean() -> (
    None
):
    found, _ = score(planted(single_tasks={}))
    assert found is not None
    assert found.name == "gain over equal"
    assert np.mean(found.values["equal"]) == pytest.approx(0)
    assert np.mean(found.values["planted"]) == pytest.approx(10, abs=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"single_tasks": {}, "reference": None}, "neither single-task runs nor a reference"),
        ({"single_tasks": {"depth": [1.0]}}, "no finished baseline of segmentation, normals"),
        (
            {"single_tasks": {"depth": [0.0], "segmentation": [1.0], "normals": [1.0]}},
            "positive and finite. Found depth: 0",
        ),
    ],
    ids=["nothing to compare with", "unfinished baselines", "baseline of 0"],
)
def test_where_there_is_no_score_a_sentence_says_why(change: dict, words: str) -> None:
    found, remark = score(replace(planted(), **change))
    assert found is None
    assert words in remark


@pytest.mark.parametrize(
    ("value", "word"), [(math.nan, "NaN"), (math.inf, "infinite"), (None, "missing")]
)
def test_a_run_with_a_fault_does_not_count(value: float | None, word: str) -> None:
    results = with_metric(planted(), "a", 2, "val/depth/RMSE", value)
    assert [run.seed for run in counted_runs(results, "a")] == [0, 1, 3, 4]
    assert faults(results.runs_of("a")[2], results.measures) == [f"`val/depth/RMSE` is {word}"]
