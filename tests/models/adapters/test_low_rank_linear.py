"""Frozen linear layers with updates of low rank."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_mtl.models.adapters.low_rank_linear import (
    ActiveTask,
    LowRankLinear,
    insert_updates,
)

TASKS = ["segmentation", "depth"]


def adapted(rank: int = 2, task_rank: int = 1, scale: float = 0.5) -> LowRankLinear:
    """A layer whose updates are not zero."""
    layer = LowRankLinear(nn.Linear(6, 5), TASKS, rank, task_rank, scale, ActiveTask())
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def test_updates_start_at_zero_and_can_be_trained():
    linear, active = nn.Linear(6, 5), ActiveTask()
    layer, inputs = LowRankLinear(linear, TASKS, 2, 1, 1.0, active), torch.rand(3, 6)
    with active.of("depth"):
        found = layer(inputs)
    torch.testing.assert_close(found, linear(inputs))
    found.sum().backward()
    assert layer.shared.up.weight.grad.abs().min() > 0
    assert layer.of_task["depth"].up.weight.grad.abs().min() > 0
    assert layer.of_task["segmentation"].up.weight.grad is None


@pytest.mark.parametrize("task", TASKS)
def test_a_layer_adds_the_shared_update_and_that_of_the_active_task(task):
    layer, inputs = adapted(), torch.rand(4, 3, 6)
    own = layer.of_task[task]
    low_rank = layer.shared.up.weight @ layer.shared.down.weight + own.up.weight @ own.down.weight
    expected = inputs @ (layer.linear.weight + 0.5 * low_rank).T + layer.linear.bias
    with layer.active.of(task):
        torch.testing.assert_close(layer(inputs), expected)
        torch.testing.assert_close(F.linear(inputs, layer.weight, layer.linear.bias), expected)


@pytest.mark.parametrize(("rank", "task_rank", "expected"), [(2, 0, 2), (0, 1, 1), (2, 1, 3)])
def test_the_difference_to_the_frozen_layer_has_the_sum_of_the_ranks(rank, task_rank, expected):
    layer = adapted(rank, task_rank)
    with layer.active.of("depth"):
        difference = layer.weight - layer.linear.weight
    assert int(torch.linalg.matrix_rank(difference)) == expected


def test_a_layer_whose_tasks_have_updates_needs_an_active_task():
    layer = adapted()
    with pytest.raises(RuntimeError, match="while a task is active"):
        layer(torch.rand(1, 6))


def test_no_task_is_active_after_an_error():
    active = ActiveTask()
    with pytest.raises(RuntimeError, match="inside"), active.of("depth"):
        assert active.name == "depth"
        raise RuntimeError("inside")
    with pytest.raises(RuntimeError, match="Found none"):
        _ = active.name


def test_layers_are_found_by_name_and_others_stay():
    block = nn.ModuleDict(
        {
            "attention": nn.ModuleDict({"qkv": nn.Linear(4, 12), "gate": nn.Linear(4, 4)}),
            "fc1": nn.Identity(),
            "fc2": nn.Linear(4, 4),
        }
    )
    assert insert_updates(block, ("qkv", "fc1", "fc2"), TASKS, 1, 1, 1.0, ActiveTask()) == 2
    assert isinstance(block["attention"]["qkv"], LowRankLinear)
    assert isinstance(block["attention"]["gate"], nn.Linear)
    assert isinstance(block["fc2"], LowRankLinear)
    assert set(block["fc2"].state_dict()) == {
        "linear.weight",
        "linear.bias",
        "shared.down.weight",
        "shared.up.weight",
        *(f"of_task.{task}.{part}.weight" for task in TASKS for part in ("down", "up")),
    }
