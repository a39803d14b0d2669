import pytest
import torch

from lightning_mtl.models.mixtures.mmoe import MMoE
from tests.models.features.networks import CHANNELS, matching, owners, small


def test_it_is_the_mixture_of_the_paper():
    """Equations 5 to 7, one expert and one row at a time."""
    network, rows = small(MMoE), torch.randn(3, 4)
    predictions = network(rows)
    for task in CHANNELS:
        for row, found in zip(rows, predictions[task], strict=True):
            x = network.backbone(row)
            scores = [torch.dot(w, x).exp() for w in network.gates[task].linear.weight]
            mixed = sum(
                score / sum(scores) * expert(x)
                for score, expert in zip(scores, network.experts.experts, strict=True)
            )
            torch.testing.assert_close(network.towers[task](mixed), found)


@pytest.mark.parametrize("chosen", [0, 2])
def test_a_gate_that_is_sure_of_an_expert_gives_the_tower_on_that_expert(chosen):
    network = MMoE(CHANNELS, in_features=4, experts=3)
    rows = torch.rand(5, 4) + 0.5
    for gate in network.gates.values():
        gate.linear.weight.data.zero_()[chosen] = 1e4
    for task, found in network(rows).items():
        expected = network.towers[task](network.experts.experts[chosen](rows))
        assert torch.equal(found, expected)


def test_one_expert_is_hard_parameter_sharing():
    network, rows = MMoE(CHANNELS, in_features=4, experts=1), torch.randn(5, 4)
    features = network.experts.experts[0](rows)
    for task, found in network(rows).items():
        torch.testing.assert_close(found, network.towers[task](features))


def test_tasks_share_backbone_and_experts_and_nothing_else():
    network = small(MMoE)
    assert owners(network, torch.rand(3, 4)) == {
        "": matching(network, "backbone", "experts"),
        "click": matching(network, "gates.click", "towers.click"),
        "rating": matching(network, "gates.rating", "towers.rating"),
    }


def test_layers_are_as_many_and_as_wide_as_asked():
    network = MMoE({"click": 2}, in_features=5, experts=3, hidden=[8, 4], tower=[])
    expert = 5 * 8 + 8 + 8 * 4 + 4
    assert sum(p.numel() for p in network.parameters()) == 3 * expert + 3 * 5 + 4 * 2 + 2


def test_no_expert_is_an_error():
    with pytest.raises(ValueError, match=r"`MMoE\(experts=\)` should be at least 1\. Found 0"):
        MMoE(CHANNELS, in_features=4, experts=0)
