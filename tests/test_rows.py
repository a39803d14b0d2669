import torch

from lightning_mtl.rows import read_rows, write_rows
from lightning_mtl.state import TaskState


def test_rows_of_absent_tasks_stay() -> None:
    state = TaskState()
    state.tasks = ("a", "b", "c")
    state.present = [0, 2]
    rows, unwritten = read_rows(state, "mean", torch.ones(2, 4))
    assert not rows.any() and unwritten.all()
    write_rows(state, "mean", torch.tensor([[1.0] * 4, [2.0] * 4]))
    state.present = [0, 1, 2]
    rows, unwritten = read_rows(state, "mean", torch.ones(3, 4))
    assert rows[:, 0].tolist() == [1, 0, 2]
    assert unwritten.tolist() == [False, True, False]
