"""Proximal affinities against loops over pairs of tasks."""

import math

import pytest
import torch
from torch import Tensor

from lightning_mtl.weightings.alternating.groupings.affinity import similarities, updated
from tests.support.learned_groups import affinity_by_loops, similarities_by_loops

TASKS = 5


def numbers(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Affinities, and losses before and after a step."""
    generator = torch.Generator().manual_seed(seed)
    affinity = 0.1 * torch.randn(TASKS, TASKS, generator=generator, dtype=torch.float64)
    before = 0.1 + torch.rand(TASKS, generator=generator, dtype=torch.float64)
    change = 1 + 0.2 * torch.randn(TASKS, generator=generator, dtype=torch.float64)
    return affinity, before, before * change


def mask(*members: int) -> Tensor:
    found = torch.zeros(TASKS, dtype=torch.bool)
    found[list(members)] = True
    return found


@pytest.mark.parametrize("group", [[0], [1, 3], [0, 2, 4], [0, 1, 2, 3, 4]])
@pytest.mark.parametrize("known", [[0, 1, 2, 3, 4], [0, 1, 3]])
def test_the_affinities_are_those_of_loops_over_pairs(group: list[int], known: list[int]) -> None:
    for seed in range(20):
        affinity, before, after = numbers(seed)
        if seed % 4 == 0:
            before[1] = 0.0
        stepped = [task for task in group if task in known]
        found = updated(affinity, before, after, mask(*known), mask(*stepped), decay=0.3)
        expected = affinity_by_loops(affinity, before, after, known, stepped, decay=0.3)
        torch.testing.assert_close(found, expected, atol=1e-14, rtol=1e-12)


def test_a_task_that_its_own_step_has_harmed_keeps_its_diagonal() -> None:
    affinity, before, _ = numbers(0)
    after = before * torch.tensor([1.5, 0.5, 1.0, 1.0, 1.0])
    found = updated(affinity, before, after, mask(*range(TASKS)), mask(0, 1), decay=0.5)
    assert found[0, 0] == affinity[0, 0]
    # a_0 = -1/4 and a_1 = 1/4, of a group of two: opposed, so both entries move towards -1/4.
    torch.testing.assert_close(found[0, 1], (affinity[0, 1] - 0.25) / 2)
    torch.testing.assert_close(found[1, 0], (affinity[1, 0] - 0.25) / 2)
    torch.testing.assert_close(found[1, 1], (affinity[1, 1] + 0.25) / 2)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_moves_nothing_of_its_task(bad: float) -> None:
    affinity, before, after = numbers(1)
    after[2], after[3] = bad, before[3] / 2
    found = updated(affinity, before, after, mask(*range(TASKS)), mask(2, 3), decay=0.5)
    assert found.isfinite().all()
    assert torch.equal(found[:, 2], affinity[:, 2])
    assert torch.equal(found[2, 3], affinity[2, 3])
    assert not torch.equal(found[3, 3], affinity[3, 3])


def test_the_rows_of_tasks_that_did_not_step_stay() -> None:
    affinity, before, after = numbers(2)
    found = updated(affinity, before, after, mask(*range(TASKS)), mask(1), decay=0.5)
    rest = [0, 2, 3, 4]
    assert torch.equal(found[rest], affinity[rest])
    assert (found[1] != affinity[1]).any()


def test_affinities_follow_a_permutation_of_the_tasks() -> None:
    affinity, before, after = numbers(3)
    order = torch.tensor([3, 0, 4, 1, 2])
    known, stepped = mask(0, 1, 2, 4), mask(1, 4)
    permuted = updated(
        affinity[order][:, order],
        before[order],
        after[order],
        known[order],
        stepped[order],
        decay=0.3,
    )
    expected = updated(affinity, before, after, known, stepped, decay=0.3)[order][:, order]
    torch.testing.assert_close(permuted, expected)


def test_similarities_divide_columns_by_the_diagonal_and_are_symmetric() -> None:
    affinity = numbers(4)[0]
    affinity.diagonal().abs_()
    found = similarities(affinity)
    torch.testing.assert_close(found, similarities_by_loops(affinity))
    assert torch.equal(found, found.T)
    torch.testing.assert_close(found.diagonal(), torch.ones(TASKS, dtype=torch.float64))
