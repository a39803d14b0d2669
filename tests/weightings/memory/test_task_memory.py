"""The memory of a weighting."""

import torch

from lightning_mtl.weightings.memory.task_memory import TaskState


def of_three_tasks(*present: int) -> TaskState:
    state = TaskState()
    state.tasks = ("a", "b", "c")
    state.present = list(present)
    return state


def test_an_entry_starts_at_its_initial_value():
    state = TaskState()
    assert state.read("s", torch.zeros(2), 3.0).tolist() == [3.0, 3.0]


def test_absent_tasks_keep_their_numbers():
    state = of_three_tasks(0, 2)
    state.read("s", torch.zeros(2))
    state.write("s", torch.tensor([1.0, 2.0]))
    assert state.tensors["s"].tolist() == [1.0, 0.0, 2.0]
    assert state.read("s", torch.zeros(2)).tolist() == [1.0, 2.0]
    state.present = [1]
    assert state.read("s", torch.zeros(1)).tolist() == [0.0]


def test_writing_detaches():
    state = TaskState()
    state.write("s", torch.ones(2, requires_grad=True) * 2)
    assert not state.tensors["s"].requires_grad


def test_only_entries_that_have_been_made_are_known():
    state = TaskState()
    assert state.known("lifted_steps") == {}
    state.count("lifted_steps", happened=True)
    state.read("s", torch.zeros(2))
    assert state.known("lifted_steps", "absent") == {"lifted_steps": torch.tensor(1.0)}


def test_a_saved_state_does_not_change_when_training_goes_on():
    state = of_three_tasks(0, 1, 2)
    state.read("s", torch.zeros(3))
    saved = state.state_dict()
    state.write("s", torch.ones(3))
    state.present = [1]
    state.write("s", torch.full((1,), 2.0))
    assert saved["tensors"]["s"].tolist() == [0.0, 0.0, 0.0]


def test_a_saved_state_does_not_change_with_what_is_changed_in_place():
    state = of_three_tasks(0, 1, 2)
    rows = state.read("s", torch.zeros(3))
    saved = state.state_dict()
    other = TaskState()
    other.load_state_dict(saved)
    rows += 1
    other.tensors["s"] -= 1
    assert saved["tensors"]["s"].tolist() == [0.0, 0.0, 0.0]


def test_a_round_trip_restores_everything(tmp_path):
    state = of_three_tasks(0, 1, 2)
    state.read("s", torch.zeros(3), 0.1)
    state.measure_at(["trunk (3,)"], ())
    torch.save(state.state_dict(), tmp_path / "state.pt")
    other = TaskState()
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert other.tasks == ("a", "b", "c")
    assert other.place == ("trunk (3,)",)
    assert torch.equal(other.tensors["s"], state.tensors["s"])


def test_entries_follow_the_device():
    state = TaskState()
    state.read("s", torch.zeros(2), 1.0)
    moved = state.read("s", torch.zeros(2, device="meta"))
    assert moved.device.type == "meta"
