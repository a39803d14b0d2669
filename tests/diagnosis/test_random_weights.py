"""Random weights: drawn from the seed alone, within their range, and each of them tried."""

import optuna
import pytest

from lightning_mtl.diagnosis.random_weights import normalised, random_weights


def test_the_same_seed_draws_the_same_weights_and_another_one_others():
    one, other, third = (
        random_weights(["a", "b", "c"], 4, seed, lambda weights: weights["a"]) for seed in (0, 0, 1)
    )
    assert one == other != third


def test_every_draw_has_its_score_and_the_number_of_tasks_as_its_sum():
    tried = []

    def score(weights):
        tried.append(weights)
        return float(len(tried))

    found = random_weights(["a", "b"], 5, 0, score)
    assert [weights for weights, _ in found] == tried
    assert [reached for _, reached in found] == [1, 2, 3, 4, 5]
    for weights in tried:
        assert sum(weights.values()) == pytest.approx(2)
        assert 1 / 100 <= weights["a"] / weights["b"] <= 100


def test_optuna_says_nothing_and_is_left_as_it_was(capfd):
    level = optuna.logging.get_verbosity()
    random_weights(["a"], 2, 0, lambda weights: 0.0)
    assert optuna.logging.get_verbosity() == level
    assert capfd.readouterr().err == ""


def test_weights_are_normalised_by_one_factor():
    assert normalised({"a": 1.0, "b": 3.0}) == {"a": 0.5, "b": 1.5}
