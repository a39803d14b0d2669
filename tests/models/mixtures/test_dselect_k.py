from functools import partial

import pytest
import torch

from lightning_mtl.models.mixtures.dselect_k import DSelectK
from tests.models.features.networks import CHANNELS, matching, owners, small

EITHER = pytest.mark.parametrize("per_example", [False, True], ids=["static", "by example"])


@EITHER
def test_a_prediction_is_the_tower_on_the_weighted_experts(per_example):
    network, rows = small(partial(DSelectK, experts=5, per_example=per_example)), torch.randn(3, 4)
    predictions, features = network(rows), network.backbone(rows)
    for task, gate in network.gates.items():
        weights = gate.weights(features, gate.selectors(features))
        for x, weight, found in zip(features, weights, predictions[task], strict=True):
            mixed = sum(
                w * expert(x) for w, expert in zip(weight, network.experts.experts, strict=True)
            )
            torch.testing.assert_close(network.towers[task](mixed), found)


def test_a_gate_that_has_chosen_an_expert_gives_the_tower_on_that_expert():
    network, rows = DSelectK(CHANNELS, in_features=4, experts=4, k=1), torch.randn(5, 4)
    for gate in network.gates.values():
        gate.codes.values.data = torch.tensor([[-9.0, 9.0]])
    for task, found in network(rows).items():
        assert torch.equal(found, network.towers[task](network.experts.experts[2](rows)))


@EITHER
def test_tasks_share_backbone_and_experts_and_nothing_else(per_example):
    network = small(partial(DSelectK, per_example=per_example))
    assert owners(network, torch.rand(3, 4)) == {
        "": matching(network, "backbone", "experts"),
        "click": matching(network, "gates.click", "towers.click"),
        "rating": matching(network, "gates.rating", "towers.rating"),
    }


@EITHER
def test_each_task_that_is_present_is_trained_with_the_penalty_of_its_own_gate(per_example):
    network, rows = (
        small(partial(DSelectK, per_example=per_example, entropy=0.3)),
        torch.randn(3, 4),
    )
    network(rows)
    found = network.training_losses({"rating": torch.tensor(7.0)})
    gate = network.gates["rating"]
    penalty = gate.penalty(gate.selectors(network.backbone(rows)), 0.3)
    assert set(found) == {"rating"}
    assert penalty > 0.1
    torch.testing.assert_close(found["rating"], 7 + penalty)


def test_the_penalty_belongs_to_the_gate_of_its_task():
    network = small(DSelectK)
    network(torch.randn(3, 4))
    zeros = {task: torch.zeros(()) for task in CHANNELS}
    network.training_losses(zeros)["click"].backward()
    with_gradient = {name for name, p in network.named_parameters() if p.grad is not None}
    assert with_gradient == {"gates.click.codes.values"}


def test_penalties_are_used_once_and_a_network_in_evaluation_has_none():
    network, losses = small(DSelectK), {"click": torch.tensor(1.0)}
    network(torch.randn(3, 4))
    network.training_losses(losses)
    network.eval()(torch.randn(3, 4))
    assert network.training_losses(losses) == losses


@pytest.mark.parametrize(
    "arguments",
    [{"experts": 1}, {"k": 0}, {"k": 9}, {"gamma": 0}, {"entropy": -1}],
    ids=["one expert", "none chosen", "more than there are", "no width", "negative entropy"],
)
def test_arguments_out_of_range_are_errors(arguments):
    with pytest.raises(ValueError, match=r"`DSelectK\(\w+=\)` should be .* Found"):
        DSelectK(CHANNELS, in_features=4, **arguments)
