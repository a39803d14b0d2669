"""What a reader is warned of."""

import math

from lightning_mtl.answers.answer import answer
from lightning_mtl.answers.cautions import cautions, statistics_used
from tests.answers.examples import planted, with_metric, without_runs


def test_a_finished_comparison_with_enough_seeds_has_no_caution() -> None:
    assert cautions(answer(planted())) == []


def test_two_seeds_are_few() -> None:
    (sentence,) = cautions(answer(planted(seeds=2)))
    assert sentence.startswith("There are fewer than 3 usable seeds of all methods.")


def test_missing_runs_and_unranked_methods_are_named() -> None:
    found = cautions(answer(without_runs(planted(missing=4), "c", range(1, 5))))
    assert found[0] == "4 planned runs have not finished: the answer may change."
    assert found[1].startswith("There are fewer than 3 usable seeds of `c`.")
    assert found[2].endswith("have finished: `c`.")


def test_runs_that_diverged_are_named_and_their_bias_is_told() -> None:
    results = with_metric(planted(), "b", 3, "val/depth/RMSE", math.nan)
    named, bias = cautions(answer(results))
    assert named.startswith("`b` with seed 3 does not count: `val/depth/RMSE` is NaN")
    assert "flatters" in bias


def test_the_noise_of_the_baselines_is_said_to_be_in_no_interval() -> None:
    assert any(
        "baselines are taken as fixed" in each for each in statistics_used(answer(planted()))
    )
