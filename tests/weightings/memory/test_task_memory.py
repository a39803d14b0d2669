"""The memory of a weighting: entries by task, by pair of tasks and by parameter."""

import pytest
import torch

from lightning_mtl.weightings.memory.task_memory import TaskMemory


def of_three_tasks() -> TaskMemory:
    memory = TaskMemory()
    memory.tasks = ("a", "b", "c")
    return memory


def test_an_entry_starts_at_its_initial_value():
    assert TaskMemory().per_task("s", 3.0).read(torch.zeros(2)).tolist() == [3.0, 3.0]
    pairs = TaskMemory().per_pair("s", 3.0).read(torch.zeros(2, 2))
    assert pairs.tolist() == [[3.0, 3.0], [3.0, 3.0]]


def test_absent_tasks_keep_their_numbers():
    memory = of_three_tasks()
    entry = memory.per_task("s")
    with memory.of([0, 2]):
        entry.write(torch.tensor([1.0, 2.0]))
        assert entry.read(torch.zeros(2)).tolist() == [1.0, 2.0]
    assert memory.tensors["s"].tolist() == [1.0, 0.0, 2.0]
    with memory.of([1]):
        assert entry.read(torch.zeros(1)).tolist() == [0.0]


def test_pairs_with_an_absent_task_keep_their_numbers():
    memory = of_three_tasks()
    entry = memory.per_pair("s", initial=5.0)
    with memory.of([0, 2]):
        entry.write(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        assert entry.read(torch.zeros(2, 2)).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert memory.tensors["s"].tolist() == [[1.0, 5.0, 2.0], [5.0, 5.0, 5.0], [3.0, 5.0, 4.0]]


def test_reading_changes_nothing():
    memory = of_three_tasks()
    entries = memory.per_task("numbers", 1.0), memory.per_pair("pairs", 1.0)
    with memory.of([1]):
        for entry, like in zip(entries, (torch.zeros(1), torch.zeros(1, 1)), strict=True):
            entry.read(like)
    assert memory.tensors == {}


def test_writing_detaches():
    memory = TaskMemory()
    memory.per_task("s").write(torch.ones(2, requires_grad=True) * 2)
    assert not memory.tensors["s"].requires_grad


def test_a_counter_is_logged_once_it_has_counted():
    counter = TaskMemory().single("lifted_steps")
    assert counter.logs() == {}
    counter.count(True)
    counter.count(False)
    assert counter.logs() == {"lifted_steps": torch.tensor(1.0)}


def test_leaving_a_block_restores_who_was_present():
    memory = of_three_tasks()
    with memory.of([2]):
        with memory.of([0, 1]):
            assert memory.names(2) == ["a", "b"]
        assert memory.names(1) == ["c"]
    assert memory.names(3) == ["a", "b", "c"]


def test_rows_are_changed_in_place_and_those_of_absent_tasks_stay():
    memory = of_three_tasks()
    entry = memory.per_parameter("mean")
    with memory.of([0, 2]):
        rows = entry.rows(2, 4, torch.ones(()))
        assert not torch.stack(rows).any()
        rows[0].fill_(1.0), rows[1].fill_(2.0)
    assert [float(row[0]) for row in entry.rows(3, 4, torch.ones(()))] == [1, 0, 2]


def test_what_was_measured_elsewhere_is_forgotten_though_it_is_as_long():
    memory = of_three_tasks()
    vectors, steps = memory.per_parameter("mean"), memory.per_task("steps", measured=True)
    other = memory.per_task("other")
    memory.measured_at(["a (4,)"])
    for row in vectors.rows(3, 4, torch.ones(())):
        row.fill_(1.0)
    steps.write(torch.ones(3))
    other.write(torch.ones(3))
    memory.measured_at(["a (4,)"])
    assert torch.stack(vectors.rows(3, 4, torch.ones(()))).all()
    assert steps.read(torch.zeros(3)).all()
    memory.measured_at(["b (4,)"])
    assert not torch.stack(vectors.rows(3, 4, torch.ones(()))).any()
    assert not steps.read(torch.zeros(3)).any()
    assert memory.tensors["other"].tolist() == [1, 1, 1]


def test_a_saved_memory_does_not_change_when_training_goes_on():
    memory = of_three_tasks()
    entry = memory.per_task("s")
    entry.write(torch.zeros(3))
    saved = memory.state_dict()
    entry.write(torch.ones(3))
    with memory.of([1]):
        entry.write(torch.full((1,), 2.0))
    assert saved["tensors"]["s"].tolist() == [0.0, 0.0, 0.0]


def test_a_saved_memory_does_not_change_with_what_is_changed_in_place():
    memory, other = of_three_tasks(), of_three_tasks()
    rows = memory.per_parameter("s").rows(3, 1, torch.zeros(()))
    entry = other.per_parameter("s")
    saved = memory.state_dict()
    other.load_state_dict(saved)
    rows[0] += 1
    entry.rows(3, 1, torch.zeros(()))[1].sub_(1)
    assert not saved["tensors"]["s"].any()


def test_a_round_trip_restores_everything(tmp_path):
    memory, other = of_three_tasks(), TaskMemory()
    memory.per_task("s").write(torch.full((3,), 0.1))
    memory.measured_at(["trunk (3,)"])
    torch.save(memory.state_dict(), tmp_path / "memory.pt")
    written, untouched = other.per_task("s"), other.per_task("other")
    untouched.write(torch.ones(3))
    other.load_state_dict(torch.load(tmp_path / "memory.pt", weights_only=True))
    assert other.tasks == ("a", "b", "c")
    assert other.measured_parameters == ("trunk (3,)",)
    assert torch.equal(written.read(torch.zeros(3)), torch.full((3,), 0.1))
    assert untouched.values is None


def test_a_checkpoint_with_entries_that_are_not_declared_is_refused():
    memory, other = of_three_tasks(), of_three_tasks()
    memory.per_task("ancient").write(torch.ones(3))
    other.per_task("s").write(torch.ones(3))
    with pytest.raises(ValueError, match=r"declares, \['s'\]. Found \['ancient'\]. Resume with"):
        other.load_state_dict(memory.state_dict())
    assert torch.equal(other.tensors["s"], torch.ones(3))


def test_two_entries_of_one_name_are_refused():
    memory = TaskMemory()
    memory.per_task("s")
    with pytest.raises(ValueError, match=r"different names. Found 's' twice"):
        memory.per_pair("s")


def test_entries_follow_the_device():
    entry = TaskMemory().per_task("s")
    entry.write(torch.ones(2))
    assert entry.read(torch.zeros(2, device="meta")).device.type == "meta"
