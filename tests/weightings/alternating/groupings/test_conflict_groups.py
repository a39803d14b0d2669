"""Groups by conflicts: when they are measured and coloured, whose turn it is, and what is kept."""

import pytest
import torch
from torch import Tensor

from lightning_mtl.weightings.alternating.groupings.conflict_groups import ConflictGroups
from lightning_mtl.weightings.memory.task_memory import TaskMemory

TASKS = ("a", "b", "c")


def grouping_of(memory: TaskMemory | None = None, **settings: float) -> ConflictGroups:
    memory = memory or TaskMemory()
    memory.tasks = TASKS
    return ConflictGroups(memory, **settings)


def opposed(one: int, other: int) -> Tensor:
    """The Gramian of three unit gradients, of which two are opposed."""
    gramian = torch.eye(3, dtype=torch.float64)
    gramian[one, other] = gramian[other, one] = -1
    return gramian


def test_the_first_batch_and_every_rth_after_it_are_measured() -> None:
    grouping = grouping_of(every_n_steps=3)
    measured = []
    for _ in range(8):
        grouping.turns(3)
        measured.append(grouping.measures)
        if grouping.measures:
            grouping.observe_gramian([0, 1, 2], opposed(0, 1))
    assert measured == [True, False, False, True, False, False, True, False]


def test_colours_take_the_batches_in_turn_from_the_one_after_the_colouring() -> None:
    grouping = grouping_of(every_n_steps=5)
    turns = []
    for _ in range(7):
        turns += grouping.turns(3)
        if grouping.measures:
            grouping.observe_gramian([0, 1, 2], opposed(0, 2))
    assert grouping.groups() == [[0, 1], [2]]
    assert turns == [0, 0, 1, 0, 1, 0, 0]


def test_all_tasks_are_one_group_before_the_first_colouring() -> None:
    grouping = grouping_of()
    assert grouping.turns(3) == [0]
    assert grouping.groups() == [[0, 1, 2]]


def test_a_single_task_is_not_measured() -> None:
    grouping = grouping_of()
    assert grouping.turns(1) == [0]
    assert not grouping.measures


def test_the_average_is_the_weighted_mean_of_what_each_pair_has_shown() -> None:
    grouping = grouping_of(decay=0.5)
    first, second = 2 * torch.eye(3).double(), 8 * torch.ones(2, 2).double()
    grouping.turns(3)
    grouping.observe_gramian([0, 1, 2], first)
    grouping.observe_gramian([0, 2], second)
    # The second of two batches counts twice as much as the first.
    expected = torch.tensor(
        [[6.0, 0.0, 16 / 3], [0.0, 2.0, 0.0], [16 / 3, 0.0, 6.0]], dtype=torch.float64
    )
    torch.testing.assert_close(grouping.average(), expected)


def test_tasks_that_are_absent_keep_their_conflicts() -> None:
    grouping = grouping_of(every_n_steps=1)
    grouping.turns(3)
    grouping.observe_gramian([0, 1, 2], opposed(1, 2))
    grouping.turns(3)
    grouping.observe_gramian([0, 1], torch.eye(2).double())
    assert grouping.groups() == [[0, 1], [2]]
    assert float(grouping.average()[1, 2]) == -1


def test_a_gramian_that_is_not_finite_is_measured_again_in_the_next_batch() -> None:
    grouping = grouping_of(every_n_steps=4)
    grouping.turns(3)
    grouping.observe_gramian([0, 1, 2], opposed(0, 1) * torch.inf)
    grouping.turns(3)
    assert grouping.measures
    grouping.observe_gramian([0, 1, 2], opposed(0, 1))
    assert len(grouping.groups()) == 2


def test_a_resumed_run_goes_on_where_it_stopped() -> None:
    memory, other = TaskMemory(), TaskMemory()
    grouping, resumed = (grouping_of(own, every_n_steps=4) for own in (memory, other))
    grouping.turns(3)
    grouping.observe_gramian([0, 1, 2], opposed(0, 1))
    grouping.turns(3)
    other.load_state_dict(memory.state_dict())
    for _ in range(6):
        assert grouping.turns(3) == resumed.turns(3)
        assert grouping.measures == resumed.measures
        assert grouping.groups() == resumed.groups()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tolerance": -0.1}, r"conflict_tolerance=\)` should be from 0 to 1. Found -0.1"),
        ({"every_n_steps": 0}, r"conflict_every_n_steps=\)` should be at least 1. Found 0"),
        ({"decay": 1.0}, r"conflict_decay=\)` should lie in \[0, 1\). Found 1.0"),
    ],
    ids=["tolerance", "every_n_steps", "decay"],
)
def test_wrong_arguments_are_named(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grouping_of(**settings)
