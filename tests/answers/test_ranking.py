"""Ranks of methods over seeds."""

import math

import numpy as np
import pytest
from scipy.stats import rankdata

from lightning_mtl.answers.ranking import ranking
from tests.answers.examples import MEASURES, planted, with_metric, without_runs


def test_ranks_are_those_of_the_mean_ranks_over_tasks_within_each_seed() -> None:
    results = planted()
    found = ranking(results, 0.95)
    assert found is not None
    blocks = []
    for seed in range(5):
        tasks = []
        for measure in MEASURES:
            values = [
                results.runs_of(name)[seed].metrics[measure.column] for name in results.methods
            ]
            tasks.append(rankdata([-x if measure.higher_is_better else x for x in values]))
        blocks.append(rankdata(np.mean(tasks, axis=0)))
    expected = dict(zip(results.methods, np.mean(blocks, axis=0), strict=True))
    assert found.ranks == pytest.approx(expected)
    assert found.seeds == (0, 1, 2, 3, 4)


def test_the_best_and_the_worst_are_in_no_group_together() -> None:
    found = ranking(planted(), 0.95)
    assert found is not None
    assert all(not {"planted", "worse"} <= set(group) for group in found.groups)


@pytest.mark.parametrize("value", [math.nan, -math.inf, None])
def test_a_faulty_run_is_the_last_of_its_seed(value: float | None) -> None:
    results = planted({"equal": 0.0, "planted": 0.1}, seeds=3)
    before = ranking(results, 0.95)
    after = ranking(with_metric(results, "planted", 0, "val/depth/RMSE", value), 0.95)
    assert before is not None
    assert after is not None
    assert before.ranks == {"equal": 2.0, "planted": 1.0}
    assert after.ranks == pytest.approx({"equal": 5 / 3, "planted": 4 / 3})


def test_a_method_with_few_seeds_is_not_ranked_and_the_others_share_their_seeds() -> None:
    results = without_runs(planted(), "a", range(1, 5))
    found = ranking(without_runs(results, "b", [4]), 0.95)
    assert found is not None
    assert "a" not in found.ranks
    assert found.seeds == (0, 1, 2, 3)


def test_one_method_or_no_shared_seed_has_no_ranks() -> None:
    assert ranking(planted({"equal": 0.0}), 0.95) is None
    apart = planted({"equal": 0.0, "a": 0.0}, seeds=2)
    assert ranking(without_runs(without_runs(apart, "equal", [0]), "a", [1]), 0.95) is None
