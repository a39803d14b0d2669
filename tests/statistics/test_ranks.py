import numpy as np
import pytest
from scipy import stats

from lightning_mtl.statistics import (
    block_ranks,
    critical_difference,
    indistinguishable,
    mean_ranks,
    rank_test,
    task_ranks,
)
from lightning_mtl.statistics.ranks import friedman_p_value

DEMSAR_Q = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102}
DEMSAR_Q |= {10: 3.164}
"""Critical values q at 0.05: table 5 (a) of Demšar, JMLR 2006, rounded or cut to three digits."""


def random_scores(seed: int, blocks: int, methods: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(blocks, methods))


@pytest.mark.parametrize("methods", DEMSAR_Q)
def test_the_critical_difference_is_that_of_the_published_table(methods: int) -> None:
    factor = np.sqrt(methods * (methods + 1) / (6 * 14))
    assert critical_difference(methods, blocks=14) / factor == pytest.approx(
        DEMSAR_Q[methods], abs=1e-3
    )


def test_the_critical_difference_is_that_of_the_published_example() -> None:
    """Demšar, section 3.2.2: four methods on 14 data sets, at 0.05 and at 0.10."""
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.01)
    assert critical_difference(4, 14, level=0.9) == pytest.approx(1.12, abs=0.01)


@pytest.mark.parametrize(("methods", "blocks"), [(1, 5), (3, 0)])
def test_a_difference_needs_two_methods_and_a_block(methods: int, blocks: int) -> None:
    with pytest.raises(ValueError, match="at least two methods and one block"):
        critical_difference(methods, blocks)


@pytest.mark.parametrize("levels_of_score", [3, 1000], ids=["many ties", "few ties"])
def test_the_p_value_is_that_of_scipy(levels_of_score: int) -> None:
    for seed in range(20):
        scores = np.random.default_rng(seed).integers(levels_of_score, size=(6, 4))
        expected = stats.friedmanchisquare(*scores.T).pvalue
        found = rank_test(scores, higher_is_better=True)
        assert found.p_value == pytest.approx(expected)
        assert found.blocks == 6


def test_two_methods_are_compared_by_the_sign_test() -> None:
    # Four wins, one loss and a tie, which does not count.
    scores = np.array([[2, 1], [2, 1], [2, 1], [2, 1], [1, 2], [1, 1]])
    found = rank_test(scores, higher_is_better=True)
    assert found.p_value == pytest.approx(2 * (1 + 5) / 2**5)


def test_methods_that_are_always_equal_do_not_differ() -> None:
    found = rank_test(np.ones((5, 3)), higher_is_better=True)
    assert found.ranks.tolist() == [2.0, 2.0, 2.0]
    assert found.p_value == 1.0
    assert found.groups() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("methods", "blocks"), [(2, 4), (2, 5), (2, 8), (2, 20), (3, 5), (5, 5), (5, 20), (10, 10)]
)
def test_equal_methods_rarely_differ(methods: int, blocks: int) -> None:
    """The family-wise rate of false alarms, of which 1000 draws have a deviation of 0.7 points."""
    difference = critical_difference(methods, blocks)
    alarms = 0
    for seed in range(1000):
        ranks = block_ranks(random_scores(seed, blocks, methods), higher_is_better=True)
        spread = np.ptp(ranks.mean(0))
        alarms += bool(spread >= difference and friedman_p_value(ranks) <= 0.05)
    assert alarms / 1000 < 0.07


def test_a_planted_better_method_is_separated_from_all_others() -> None:
    scores = random_scores(0, 30, 5)
    scores[:, 3] += 3
    found = rank_test(scores, higher_is_better=True)
    assert found.is_significant
    assert found.ranks.argmin() == 3
    assert all(3 not in group for group in found.groups())


def test_without_significance_all_methods_are_one_group() -> None:
    """Four blocks of two methods exceed the critical difference, but not the sign test."""
    scores = np.array([[2, 1]] * 4)
    found = rank_test(scores, higher_is_better=True)
    assert np.ptp(found.ranks) > found.critical_difference
    assert not found.is_significant
    assert found.groups() == [[0, 1]]


def test_ties_share_the_mean_of_their_ranks() -> None:
    scores = np.array([[3.0, 1.0, 3.0, 2.0], [1.0, 1.0, 1.0, 1.0]])
    assert block_ranks(scores, higher_is_better=True).tolist() == [
        [1.5, 4.0, 1.5, 3.0],
        [2.5, 2.5, 2.5, 2.5],
    ]
    assert mean_ranks(scores, higher_is_better=True).tolist() == [2.0, 3.25, 2.0, 2.75]


def test_lower_scores_are_better_when_negated() -> None:
    scores = random_scores(1, 6, 4)
    ranks = block_ranks(scores, higher_is_better=True)
    np.testing.assert_array_equal(block_ranks(-scores, higher_is_better=False), ranks)


def test_each_block_may_have_a_direction() -> None:
    scores = np.array([[1.0, 2.0], [1.0, 2.0]])
    assert block_ranks(scores, [True, False]).tolist() == [[2.0, 1.0], [1.0, 2.0]]
    with pytest.raises(ValueError, match=r"one for each of 2 blocks. Found 3"):
        block_ranks(scores, [True, False, True])


def test_ranks_over_tasks_are_those_of_each_seed() -> None:
    scores = random_scores(2, 12, 4).reshape(4, 3, 4)
    higher = [True, False, True]
    found = task_ranks(scores, higher)
    assert found.shape == (4, 4)
    for seed in range(4):
        signed = scores[seed] * np.array([[1], [-1], [1]])
        literal = [[1 + sum(task > task[j]) for j in range(4)] for task in signed]
        np.testing.assert_allclose(found[seed], np.mean(literal, axis=0))


def test_groups_are_all_maximal_runs_within_the_critical_difference() -> None:
    for seed in range(50):
        ranks = np.random.default_rng(seed).uniform(1, 6, 6)
        order = np.argsort(ranks).tolist()
        runs = [order[start:end] for start in range(6) for end in range(start + 2, 7)]
        runs = [run for run in runs if ranks[run[-1]] - ranks[run[0]] < 1.3]
        maximal = [run for run in runs if not any(set(run) < set(other) for other in runs)]
        assert indistinguishable(ranks, 1.3) == maximal


def test_methods_that_all_differ_have_no_group() -> None:
    assert indistinguishable(np.array([3.0, 1.0, 2.0]), critical_difference=0.5) == []
