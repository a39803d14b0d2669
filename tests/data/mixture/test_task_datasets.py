import pytest
import torch
from torch.utils.data import TensorDataset

from lightning_mtl.data import TaskDatasets, collate_tasks


def test_samples_come_beside_the_name_of_their_task() -> None:
    data = TaskDatasets({"age": [31, 64], "name": ["Ada"]})
    assert list(data) == [("age", 31), ("age", 64), ("name", "Ada")]
    assert data.sizes == {"age": 2, "name": 1}


def test_a_batch_has_one_entry_for_each_task_with_samples() -> None:
    tensors = TensorDataset(torch.arange(3.0), torch.arange(3))
    data = TaskDatasets({"one": tensors, "two": [{"x": 1.5}, {"x": 2.5}], "three": [0]})
    batch = collate_tasks([data[0], data[3], data[2], data[4]])
    assert list(batch) == ["one", "two"]
    assert [part.tolist() for part in batch["one"]] == [[0.0, 2.0], [0, 2]]
    assert batch["two"]["x"].tolist() == [1.5, 2.5]


@pytest.mark.parametrize("tasks", [{}, {"one": [1], "two": []}], ids=["none", "empty"])
def test_a_task_without_samples_is_an_error(tasks: dict) -> None:
    with pytest.raises(ValueError, match=r"`TaskDatasets` should be given at least one task"):
        TaskDatasets(tasks)
