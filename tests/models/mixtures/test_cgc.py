from functools import partial

import pytest
import torch

from lightning_mtl.models.mixtures.cgc import CGC
from tests.models.features.networks import CHANNELS, matching, owners, parted, small


def test_it_is_the_mixture_of_the_paper():
    """Section 4.1, one row at a time."""
    network, rows = small(CGC), torch.randn(3, 4)
    level = network.level
    predictions = network(rows)
    for task in CHANNELS:
        for row, found in zip(rows, predictions[task], strict=True):
            x = network.backbone(row)
            selected = torch.stack(
                [expert(x) for expert in [*level.own[task].experts, *level.shared.experts]]
            )
            weights = torch.softmax(level.gates[task].linear.weight @ x, dim=0)
            torch.testing.assert_close(network.towers[task](weights @ selected), found)


@pytest.mark.parametrize("chosen", [1, 2])
def test_a_gate_that_is_sure_of_an_expert_gives_the_tower_on_that_expert(chosen):
    network = CGC(CHANNELS, in_features=4, task_experts=2, shared_experts=1)
    rows = torch.rand(5, 4) + 0.5
    for task, gate in network.level.gates.items():
        gate.linear.weight.data.zero_()[chosen] = 1e4
        experts = [*network.level.own[task].experts, *network.level.shared.experts]
        assert torch.equal(network(rows)[task], network.towers[task](experts[chosen](rows)))


def test_tasks_share_backbone_and_shared_experts_and_nothing_else():
    network = small(CGC)
    own = {
        task: matching(network, f"level.own.{task}", f"level.gates.{task}", f"towers.{task}")
        for task in CHANNELS
    }
    shared = matching(network, "backbone", "level.shared")
    assert owners(network, torch.rand(3, 4)) == {"": shared, **own}


def test_without_shared_experts_tasks_have_separate_networks():
    network = CGC(CHANNELS, in_features=4, shared_experts=0)
    found = owners(network, torch.rand(3, 4))
    assert found[""] == set()
    assert found["click"] | found["rating"] == {name for name, _ in network.named_parameters()}


def test_without_shared_experts_the_backbone_can_still_be_cut_off():
    network = small(partial(CGC, shared_experts=0))
    assert owners(network, torch.rand(3, 4))[""] == matching(network, "backbone")
    assert parted(network, torch.rand(3, 4)) is not None


@pytest.mark.parametrize(
    "arguments",
    [{"shared_experts": -1}, {"task_experts": 0}],
    ids=["negative number", "no expert of a task"],
)
def test_numbers_of_experts_out_of_range_are_errors(arguments):
    with pytest.raises(ValueError, match=r"`CGC\(\w+_experts=\)` should be at least"):
        CGC(CHANNELS, in_features=4, **arguments)
