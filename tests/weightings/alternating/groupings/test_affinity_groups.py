"""Groups by affinity: when they are found, in which order they step, and what is kept."""

import pytest
import torch
from torch import Tensor

from lightning_mtl.engine.task_output import TaskOutput
from lightning_mtl.weightings.alternating.groupings.affinity_groups import AffinityGroups
from lightning_mtl.weightings.memory.task_memory import TaskMemory

TASKS = ("a", "b", "c", "d")


def grouping_of(memory: TaskMemory | None = None, **settings: float) -> AffinityGroups:
    memory = memory or TaskMemory()
    memory.tasks = TASKS
    return AffinityGroups(memory, seed=0, **settings)


def output(*losses: float | None) -> TaskOutput:
    pairs = zip(TASKS, losses, strict=True)
    return TaskOutput({task: torch.tensor(loss) for task, loss in pairs if loss is not None}, {})


def planted(labels: list[int]) -> Tensor:
    groups = torch.tensor(labels)
    same = (groups[:, None] == groups).double()
    return 0.1 * same + 0.01 * torch.eye(len(labels)) - 0.02 * (1 - same)


def test_each_task_is_alone_during_the_warm_up() -> None:
    grouping = grouping_of(warm_up=3)
    for _ in range(3):
        assert sorted(grouping.turns(4)) == [0, 1, 2, 3]
        grouping.affinity.write(planted([0, 0, 1, 1]))
        assert grouping.groups() == [[0], [1], [2], [3]]
    assert sorted(grouping.turns(4)) == [0, 1]
    assert grouping.groups() == [[0, 1], [2, 3]]


def test_groups_step_in_random_order() -> None:
    grouping = grouping_of()
    orders = {tuple(grouping.turns(4)) for _ in range(60)}
    assert len(orders) > 12


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 0, 3, 1]])
def test_groups_follow_a_permutation_of_the_tasks(order: list[int]) -> None:
    labels = torch.tensor([0, 0, 1, 1])[order].tolist()
    found = AffinityGroups.clusters(planted([0, 0, 1, 1])[order][:, order])
    assert found == [0 if label == labels[0] else 1 for label in labels]


def test_a_single_group_steps_twice_so_that_it_is_judged() -> None:
    grouping = grouping_of(warm_up=0)
    grouping._group.values = torch.zeros(4, dtype=torch.long)
    assert grouping.turns(4) == [0, 0]
    assert grouping_of().turns(1) == [0]


def test_a_task_that_has_never_lowered_its_own_loss_stays_alone() -> None:
    affinity = planted([0, 1, 0, 0])
    affinity[1, 1] = 0.0
    found = AffinityGroups.clusters(affinity)
    assert found is not None
    assert found.count(found[1]) == 1
    assert AffinityGroups.clusters(torch.zeros(3, 3)) == [0, 1, 2]


def test_a_change_counts_for_the_group_that_has_stepped_before() -> None:
    grouping = grouping_of(decay=1.0)
    grouping.turns(4)
    grouping.observe_losses(output(1.0, 1.0, 1.0, 1.0), TASKS, place=2)
    grouping.observe_losses(output(0.9, 1.2, 0.5, 1.0), TASKS, place=0)
    affinity = grouping.affinity.values
    assert affinity is not None
    torch.testing.assert_close(affinity[2], torch.tensor([0.1, -0.2, 0.5, 0.0]).double())
    assert not affinity[[0, 1, 3]].any()


def test_batches_are_not_compared_with_each_other() -> None:
    grouping = grouping_of()
    for _ in range(2):
        grouping.turns(4)
        grouping.observe_losses(output(1.0, 1.0, 1.0, 1.0), TASKS, place=0)
    assert grouping.affinity.values is None


def test_tasks_that_are_absent_keep_their_affinities() -> None:
    grouping = grouping_of(decay=0.5)
    grouping.affinity.write(planted([0, 0, 1, 1]))
    before = grouping.affinity.values
    grouping.turns(4)
    grouping.observe_losses(output(1.0, None, 1.0, 1.0), TASKS, place=0)
    grouping.observe_losses(output(0.5, None, 0.5, 0.5), TASKS, place=1)
    grouping.observe_losses(output(0.4, None, 0.4, 0.4), TASKS, place=2)
    after = grouping.affinity.values
    assert before is not None and after is not None
    assert torch.equal(after[1], before[1])
    assert torch.equal(after[:, 1], before[:, 1])
    assert (after[0, [0, 2, 3]] != before[0, [0, 2, 3]]).all()


def test_a_resumed_run_has_the_same_groups_and_goes_on_drawing() -> None:
    memory, other = TaskMemory(), TaskMemory()
    grouping, resumed = grouping_of(memory, warm_up=2), grouping_of(other, warm_up=2)
    grouping.affinity.write(planted([0, 1, 0, 1]))
    for _ in range(2):
        grouping.turns(4)
    other.load_state_dict(memory.state_dict())
    for _ in range(5):
        assert grouping.turns(4) == resumed.turns(4)
        assert grouping.groups() == resumed.groups() == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decay": 0.0}, r"affinity_decay=\)` should lie in \(0, 1\]. Found 0.0"),
        ({"decay": 1.5}, r"affinity_decay=\)` should lie in \(0, 1\]. Found 1.5"),
        ({"warm_up": -1}, r"affinity_warm_up=\)` should be at least 0. Found -1"),
    ],
    ids=["no decay", "decay above 1", "warm-up"],
)
def test_wrong_arguments_are_named(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grouping_of(**settings)
