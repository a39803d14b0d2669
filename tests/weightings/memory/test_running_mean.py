"""A running mean of the numbers that each task has had."""

import torch

from lightning_mtl.weightings.memory.running_mean import RunningMean
from lightning_mtl.weightings.memory.task_memory import TaskMemory


def running_mean() -> tuple[TaskMemory, RunningMean]:
    memory = TaskMemory()
    memory.tasks = ("a", "b")
    return memory, RunningMean(memory.per_task("mean"), memory.per_task("count"))


def test_it_is_the_mean_of_the_positive_numbers_of_each_task() -> None:
    memory, mean = running_mean()
    mean.add(torch.tensor([1.0, 2.0]))
    mean.add(torch.tensor([3.0, 0.0]))
    with memory.of([1]):
        mean.add(torch.tensor([6.0]))
    torch.testing.assert_close(mean.mean.values, torch.tensor([2.0, 4.0]))
    torch.testing.assert_close(mean.count.values, torch.tensor([2.0, 2.0]))


def test_it_keeps_the_range_of_the_numbers() -> None:
    _, mean = running_mean()
    largest = torch.finfo(torch.float32).max
    for _ in range(5):
        mean.add(torch.tensor([largest, 1.0]))
    torch.testing.assert_close(mean.mean.values, torch.tensor([largest, 1.0]))
