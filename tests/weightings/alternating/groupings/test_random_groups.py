"""Random grouping: uniform, without replacement, from a seed alone."""

from collections import Counter

import pytest
import torch

from lightning_mtl.weightings.alternating.groupings.random_groups import RandomGroups
from lightning_mtl.weightings.memory.task_memory import TaskMemory


def grouping_of(size: int, regroup: str, order: str, seed: int = 0) -> RandomGroups:
    return RandomGroups(TaskMemory(), size, regroup, order, seed)


def draws(grouping: RandomGroups, tasks: int, count: int) -> list[list[list[int]]]:
    """The groups in their order, batch by batch."""
    found = []
    for _ in range(count):
        turns = grouping.turns(tasks)
        groups = grouping.groups()
        found.append([groups[place] for place in turns])
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
def test_every_task_is_in_one_group_and_only_the_last_may_be_smaller(size: int) -> None:
    for groups in draws(grouping_of(size, "step", "fixed", 0), 5, 20):
        assert sorted(task for group in groups for task in group) == list(range(5))
        assert all(len(group) == min(size, 5) for group in groups[:-1])
        assert 1 <= len(groups[-1]) <= size


def test_all_groupings_are_equally_likely() -> None:
    found = Counter(
        frozenset(map(frozenset, groups))
        for groups in draws(grouping_of(2, "step", "fixed", 0), 4, 3000)
    )
    assert len(found) == 3
    assert all(abs(count - 1000) < 120 for count in found.values())


def test_all_orders_are_equally_likely() -> None:
    found = Counter(
        tuple(task for (task,) in groups)
        for groups in draws(grouping_of(1, "never", "random", 0), 3, 3000)
    )
    assert len(found) == 6
    assert all(abs(count - 500) < 90 for count in found.values())


@pytest.mark.parametrize("regroup", ["never", "epoch", "step"])
def test_single_tasks_in_a_fixed_order_take_turns_in_their_own(regroup: str) -> None:
    grouping = grouping_of(1, regroup, "fixed", seed=5)
    for _ in range(3):
        grouping.start_epoch()
        assert draws(grouping, 6, 3) == [[[task] for task in range(6)]] * 3


def test_groups_that_never_change_are_drawn_once() -> None:
    found = draws(grouping_of(2, "never", "fixed", 0), 6, 10)
    assert all(groups == found[0] for groups in found)


def test_different_seeds_draw_different_groups_and_the_same_seed_the_same() -> None:
    def drawn(seed: int) -> list[list[list[int]]]:
        return draws(grouping_of(2, "step", "random", seed), 6, 10)

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_groups_of_an_epoch_change_with_the_epoch_only() -> None:
    grouping = grouping_of(2, "epoch", "fixed")
    epochs = []
    for _ in range(6):
        grouping.start_epoch()
        found = []
        for _ in range(3):
            grouping.turns(6)
            found.append(grouping.groups())
        assert found == [found[0]] * 3
        epochs.append(str(found[0]))
    assert len(set(epochs)) > 3


@pytest.mark.parametrize("regroup", ["never", "epoch", "step"])
def test_drawing_goes_on_where_a_checkpoint_stopped(regroup: str) -> None:
    memory, other = TaskMemory(), TaskMemory()
    grouping, resumed = (RandomGroups(own, 2, regroup, "random", 0) for own in (memory, other))
    grouping.turns(6)
    other.load_state_dict(memory.state_dict())
    for _ in range(5):
        assert grouping.turns(6) == resumed.turns(6)
        assert grouping.groups() == resumed.groups()


def test_drawing_leaves_the_random_numbers_of_the_run_alone() -> None:
    before = torch.get_rng_state()
    draws(grouping_of(2, "step", "random", 0), 6, 3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, "never", "fixed"), r"group_size=\)` should be at least 1. Found 0"),
        ((1, "never", "sorted"), r"order=\)` should be one of .*\"random\".* Found 'sorted'"),
    ],
    ids=["group_size", "order"],
)
def test_wrong_arguments_are_named(arguments: tuple[int, str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grouping_of(*arguments)
