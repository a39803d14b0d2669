from functools import partial

import pytest
import torch

from lightning_mtl.models.branching.choice import Choice
from lightning_mtl.models.branching.learning_to_branch import LearningToBranch
from lightning_mtl.models.branching.tree import Tree
from tests.models.features.networks import CHANNELS, matching, owners, small

ONE = torch.tensor(1.0)


def branched() -> LearningToBranch:
    """Layers of 1, 2 and 3 nodes; click takes node 2 below node 1, rating node 0 below node 0."""
    torch.manual_seed(0)
    network = LearningToBranch(CHANNELS, in_features=4, nodes=[1, 2, 3], hidden=[8])
    network.choices[1].logits.data = torch.tensor([[5.0, 0.0], [3.0, 1.0], [0.0, 2.0]])
    network.task_choices["click"].logits.data = torch.tensor([[0.0, 1.0, 2.0]])
    network.task_choices["rating"].logits.data = torch.tensor([[2.0, 1.0, 0.0]])
    return network


def test_the_tree_is_that_of_the_most_probable_parents():
    tree = branched().tree()
    assert tree == Tree([[0, 0], [0, 0, 1]], {"click": 2, "rating": 0})
    assert tree.path("click") == [0, 1, 2]
    assert tree.used == [[0], [0, 1], [0, 2]]


def test_evaluation_follows_the_tree():
    network, rows = branched().eval(), torch.randn(5, 4)
    for task, found in network(rows).items():
        first, second, third = network.tree().path(task)
        x = network.stem.experts[first](rows)
        x = network.layers[1].nodes[third](network.layers[0].nodes[second](x))
        torch.testing.assert_close(found, network.towers[task](x))


def test_a_node_that_no_task_uses_changes_nothing_in_evaluation():
    network, rows = branched().eval(), torch.randn(5, 4)
    before = network(rows)
    for parameter in network.layers[1].nodes[1].parameters():
        parameter.data.add_(1)
    torch.testing.assert_close(network(rows), before, rtol=0, atol=0)


def test_training_draws_a_tree_for_each_batch_from_the_generator_of_torch():
    network, rows = branched(), torch.randn(5, 4)
    torch.manual_seed(3)
    first, second = network(rows), network(rows)
    assert not torch.equal(first["click"], second["click"])
    torch.manual_seed(3)
    torch.testing.assert_close(network(rows), first, rtol=0, atol=0)


def test_a_choice_in_training_is_the_gumbel_softmax_of_the_paper():
    choice, outputs = Choice(2, 3), torch.randn(4, 3, 5)
    choice.logits.data = torch.randn(2, 3)
    torch.manual_seed(0)
    found = choice(outputs, torch.tensor(0.7), ONE)
    torch.manual_seed(0)
    noise = -torch.empty(2, 3).exponential_().log()
    for child in range(2):
        scores = [((choice.logits[child, i] + noise[child, i]) / 0.7).exp() for i in range(3)]
        mixed = sum(score / sum(scores) * outputs[:, i] for i, score in enumerate(scores))
        torch.testing.assert_close(found[:, child], mixed)


def test_parents_are_drawn_as_often_as_they_are_probable():
    torch.manual_seed(0)
    choice, outputs = Choice(1, 3), torch.eye(3).unsqueeze(0)
    choice.logits.data = torch.tensor([[0.5, 0.3, 0.2]]).log()
    cold = torch.tensor(1e-3)
    mean = torch.stack([choice(outputs, cold, ONE) for _ in range(2000)]).mean(0)
    torch.testing.assert_close(mean, torch.tensor([[[0.5, 0.3, 0.2]]]), atol=0.04, rtol=0)


def test_the_temperature_falls_geometrically():
    network = LearningToBranch(
        CHANNELS, in_features=4, temperature=8.0, final_temperature=0.5, warm_up=0.25
    )
    found = []
    for progress in (0.25, 0.5, 0.75, 1.0):
        network.start_epoch(progress)
        found.append((round(float(network.temperature), 5), float(network.learned)))
    assert found == [(4, 0), (2, 1), (1, 1), (0.5, 1)]


def test_what_has_been_learned_is_not_used_in_the_warm_up():
    network, rows = branched(), torch.randn(5, 4)
    network.start_epoch(0.01)
    torch.manual_seed(0)
    expected = network(rows)
    for choice in [*network.choices, *network.task_choices.values()]:
        choice.logits.data.mul_(-3)
    torch.manual_seed(0)
    torch.testing.assert_close(network(rows), expected, rtol=0, atol=0)
    network.start_epoch(0.5)
    torch.manual_seed(0)
    assert not torch.equal(network(rows)["click"], expected["click"])


def test_tasks_share_all_layers_and_nothing_else():
    network = small(partial(LearningToBranch, nodes=[1, 2, 2]))
    assert owners(network, torch.rand(3, 4)) == {
        "": matching(network, "backbone", "stem", "layers", "choices"),
        "click": matching(network, "task_choices.click", "towers.click"),
        "rating": matching(network, "task_choices.rating", "towers.rating"),
    }


def test_only_choices_have_a_learning_rate_of_their_own():
    network = LearningToBranch(CHANNELS, in_features=4, branching_lr_multiplier=100.0)
    faster = {n for n, _ in network.named_parameters() if network.lr_multiplier(n) == 100}
    assert faster == matching(network, "choices", "task_choices")
    others = {n for n, _ in network.named_parameters()} - faster
    assert {network.lr_multiplier(n) for n in others} == {1}


def test_tasks_that_have_nothing_in_common_come_to_use_different_nodes():
    """Each node can double or negate; a task that needs the one learns not to take the other."""
    torch.manual_seed(0)
    network = LearningToBranch({"plus": 1, "minus": 1}, in_features=1, nodes=[2], hidden=[1])
    for node, sign in zip(network.stem.experts, (1.0, -1.0), strict=True):
        node[0].weight.data.fill_(sign)
        node[0].bias.data.zero_()
        node.requires_grad_(False)
    optimizer = torch.optim.Adam((p for p in network.parameters() if p.requires_grad), 0.02)
    rows = torch.randn(64, 1)
    for step in range(150):
        network.start_epoch((step + 1) / 150)
        predictions = network(rows)
        loss = (predictions["plus"] - rows.relu()).square().mean()
        loss = loss + (predictions["minus"] - (-rows).relu()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert network.tree().tasks == {"plus": 0, "minus": 1}


@pytest.mark.parametrize(
    "arguments",
    [
        {"nodes": []},
        {"nodes": [2, 0]},
        {"final_temperature": 0},
        {"temperature": 0.1},
        {"warm_up": 1.5},
        {"branching_lr_multiplier": -1},
    ],
    ids=[
        "no layer",
        "an empty layer",
        "frozen",
        "a temperature that rises",
        "more than all",
        "backwards",
    ],
)
def test_arguments_out_of_range_are_errors(arguments):
    with pytest.raises(ValueError, match=r"`LearningToBranch\(\w+=\)` should .* Found"):
        LearningToBranch(CHANNELS, in_features=4, **arguments)
