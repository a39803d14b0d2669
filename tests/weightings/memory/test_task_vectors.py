import pytest
import torch

from lightning_mtl.weightings.memory.task_memory import TaskState
from lightning_mtl.weightings.memory.task_vectors import columns, kept_rows


def of_three_tasks() -> TaskState:
    state = TaskState()
    state.tasks = ("a", "b", "c")
    return state


def test_rows_are_changed_in_place_and_those_of_absent_tasks_stay() -> None:
    state = of_three_tasks()
    state.present = [0, 2]
    rows, new = kept_rows(state, "mean", torch.ones(2, 4))
    assert not torch.stack(rows).any() and new.all()
    rows[0].fill_(1.0), rows[1].fill_(2.0)
    state.present = [0, 1, 2]
    rows, new = kept_rows(state, "mean", torch.ones(3, 4))
    assert [float(row[0]) for row in rows] == [1, 0, 2]
    assert new.tolist() == [False, True, False]


def test_rows_measured_elsewhere_are_forgotten_though_they_are_as_long() -> None:
    state = of_three_tasks()
    names = ("mean", "mean_written")
    state.measure_at(["a (4,)"], names)
    for row in kept_rows(state, "mean", torch.ones(3, 4))[0]:
        row.fill_(1.0)
    state.tensors["other"] = torch.ones(3)
    state.measure_at(["a (4,)"], names)
    rows, new = kept_rows(state, "mean", torch.ones(3, 4))
    assert torch.stack(rows).all() and not new.any()
    state.measure_at(["b (4,)"], names)
    rows, new = kept_rows(state, "mean", torch.ones(3, 4))
    assert not torch.stack(rows).any() and new.all()
    assert state.tensors["other"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("size", [1, 3, 8, 9])
def test_columns_are_views_that_cover_everything_once(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_mtl.weightings.memory.task_vectors.CACHE", 2 * size)
    matrix, vector = torch.arange(16.0).view(2, 8), torch.zeros(8)
    for part, into in columns(matrix, vector):
        assert part.shape[1] <= size
        into += part.sum(0)
    assert torch.equal(vector, matrix.sum(0))
