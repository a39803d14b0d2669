"""What all networks for features promise."""

from collections.abc import Callable
from copy import deepcopy

import jsonargparse
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_mtl.models.branching.learning_to_branch import LearningToBranch
from lightning_mtl.models.features.image import ImageFeatures
from lightning_mtl.models.features.table import TableFeatures
from lightning_mtl.models.mixtures.cgc import CGC
from lightning_mtl.models.mixtures.dselect_k import DSelectK
from lightning_mtl.models.mixtures.mmoe import MMoE
from lightning_mtl.models.mixtures.ple import PLE
from lightning_mtl.models.network import MultiTaskNetwork
from tests.models.features.networks import CHANNELS, FEATURES, NETWORKS, parted, small


@NETWORKS
def test_each_task_gets_its_logits_for_each_row(build):
    predictions = small(build)(torch.rand(3, 4))
    assert {task: tuple(p.shape) for task, p in predictions.items()} == {
        "click": (3, 1),
        "rating": (3, 5),
    }


@NETWORKS
@pytest.mark.parametrize("channels", [{"only": 2}, {"a": 1, "b": 2, "c": 3}], ids=["one", "three"])
def test_any_number_of_tasks_will_do(build, channels):
    predictions = small(build, channels)(torch.rand(3, 4))
    assert {task: p.shape[1] for task, p in predictions.items()} == channels


@NETWORKS
def test_features_may_be_used_as_they_are(build):
    network = build(CHANNELS, in_features=FEATURES)
    assert network(torch.rand(3, FEATURES))["rating"].shape == (3, 5)


@NETWORKS
def test_tables_and_images_are_inputs_as_good_as_features(build):
    table = torch.cat([torch.rand(3, 2), torch.tensor([[0.0], [4.0], [1.0]])], dim=1)
    assert build(CHANNELS, TableFeatures(2, [5]))(table)["click"].shape == (3, 1)


def test_a_mixture_runs_on_images():
    network = MMoE(CHANNELS, ImageFeatures("mobilenet_v2"), experts=2, hidden=[4], tower=[])
    assert network(torch.rand(2, 3, 50, 70))["rating"].shape == (2, 5)


@NETWORKS
def test_a_backbone_that_does_not_say_its_width_needs_it_said(build):
    backbone = nn.Sequential(nn.Linear(4, FEATURES), nn.ReLU())
    with pytest.raises(ValueError, match=r"\(in_features=\)`.*Found None \(Sequential\)"):
        build(CHANNELS, backbone)
    with pytest.raises(ValueError, match=r"\(in_features=\)`.*the input is taken as it is"):
        build(CHANNELS)
    assert build(CHANNELS, backbone, FEATURES)(torch.rand(2, 4))["click"].shape == (2, 1)


def test_a_width_that_contradicts_the_backbone_is_an_error():
    with pytest.raises(ValueError, match=r"`MMoE\(in_features=\)` .* 6\. Found 7\. Leave it out"):
        MMoE(CHANNELS, nn.Linear(4, 6), in_features=7)


@NETWORKS
def test_gradients_reach_every_parameter(build):
    network = small(build)
    sum(p.square().mean() for p in network(torch.randn(16, 4)).values()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@NETWORKS
def test_heads_can_be_cut_off_what_is_shared(build):
    found = parted(small(build), torch.rand(3, 4))
    assert found is not None
    assert found.private


@NETWORKS
def test_an_exported_network_gives_the_same_numbers(build):
    network, inputs = small(build).eval(), torch.rand(3, 4)
    exported = torch.export.export(network, (inputs,)).module()
    torch.testing.assert_close(exported(inputs), network(inputs))


@pytest.mark.parametrize("kind", [PLE, DSelectK, LearningToBranch])
def test_it_is_compiled_as_one_graph_and_trains_as_before(kind):
    network, rows = small(kind), torch.rand(3, 4)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.manual_seed(0)
    expected = network.training_losses({t: p.mean() for t, p in network(rows).items()})
    torch.manual_seed(0)
    found = network.training_losses({t: p.mean() for t, p in compiled(rows).items()})
    torch.testing.assert_close(found, expected)


@NETWORKS
def test_evaluation_is_deterministic_and_training_with_dropout_is_not(build):
    network, inputs = build(CHANNELS, in_features=4, dropout=0.5), torch.rand(3, 4)
    assert not torch.equal(network(inputs)["rating"], network(inputs)["rating"])
    network.eval()
    assert torch.equal(network(inputs)["rating"], network(inputs)["rating"])


@NETWORKS
def test_a_copy_gives_the_same_numbers_and_so_does_one_that_loads_the_state(build):
    network, inputs = small(build), torch.rand(3, 4)
    network(inputs)
    network.eval()
    loaded = build(CHANNELS, nn.Linear(4, FEATURES), hidden=[8], tower=[7]).eval()
    loaded.load_state_dict(network.state_dict())
    for other in (deepcopy(network), loaded):
        torch.testing.assert_close(other(inputs), network(inputs), rtol=0, atol=0)


@NETWORKS
def test_it_takes_the_precision_that_it_is_moved_to(build):
    network = small(build).double().eval()
    assert network(torch.rand(3, 4, dtype=torch.float64))["click"].dtype == torch.float64
    network.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.rand(3, 4))["click"].dtype == torch.bfloat16


@NETWORKS
@pytest.mark.parametrize(
    "arguments",
    [{"hidden": []}, {"hidden": [8, 0]}, {"tower": [0]}, {"dropout": 1.5}],
    ids=["no layer", "layer without width", "tower without width", "dropout above one"],
)
def test_layers_out_of_range_are_errors(build, arguments):
    with pytest.raises(ValueError, match="Found"):
        build(CHANNELS, in_features=4, **arguments)


def given(
    network: Callable[[dict[str, int]], MultiTaskNetwork],
) -> Callable[[dict[str, int]], MultiTaskNetwork]:
    return network


@pytest.mark.parametrize("kind", [MMoE, CGC, PLE, DSelectK, LearningToBranch])
def test_it_is_built_from_yaml_with_its_backbone(kind):
    backbone = (
        f"{{class_path: {TableFeatures.__module__}.TableFeatures,"
        " init_args: {numeric: 10, categories: [4, 100]}}"
    )
    arguments = f"{{hidden: [4], backbone: {backbone}}}"
    text = f"{{class_path: {kind.__module__}.{kind.__name__}, init_args: {arguments}}}"
    build = jsonargparse.auto_cli(given, args=["--network", text], as_positional=False)
    network = build(CHANNELS)
    assert isinstance(network, kind)
    assert network.backbone.categories == (4, 100)
    assert network(torch.zeros(2, 12))["rating"].shape == (2, 5)


@NETWORKS
def test_two_tasks_on_a_table_are_learned(build):
    """A number and a class that depend on the same columns, at half of the trivial losses."""
    torch.manual_seed(0)
    code = torch.randint(3, (512, 1))
    table = torch.cat([torch.randn(512, 3) * 5 + 2, code], dim=1)
    hidden = (table[:, 0] - 2) / 5 + code[:, 0] - 1
    number, positive = hidden.unsqueeze(1), (hidden > 0).float().unsqueeze(1)
    backbone = TableFeatures(3, [3])
    network = build({"number": 1, "positive": 1}, backbone, hidden=[16], tower=[8])
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for step in range(60):
        network.start_epoch((step + 1) / 60)
        predictions = network(table)
        losses = {
            "number": F.mse_loss(predictions["number"], number),
            "positive": F.binary_cross_entropy_with_logits(predictions["positive"], positive),
        }
        optimizer.zero_grad()
        sum(network.training_losses(losses).values()).backward()
        optimizer.step()
    predictions = network.eval()(table)
    assert F.mse_loss(predictions["number"], number) < number.var() / 2
    right = (predictions["positive"] > 0).float() == positive
    assert right.float().mean() > 0.85
