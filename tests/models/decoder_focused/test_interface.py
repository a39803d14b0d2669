"""What the decoder-focused networks have in common."""

import pytest
import torch
from torch import Tensor

from lightning_mtl.engine.graph import cut, reach, root_edge
from lightning_mtl.models import DeeplySupervisedNetwork
from lightning_mtl.models.decoder_focused.jtrl import JTRL
from lightning_mtl.models.decoder_focused.mti_net import MTINet
from lightning_mtl.models.decoder_focused.pad_net import PADNet
from lightning_mtl.models.decoder_focused.pap_net import PAPNet
from lightning_mtl.models.decoder_focused.psd import PSD

CHANNELS = {"segmentation": 2, "depth": 1, "normals": 3}
ENCODER = "tu-test_resnet"  # timm's smallest
NARROW = {
    PADNet: {"width": 8},
    PAPNet: {"width": 8, "affinity_width": 8},
    PSD: {"width": 8, "affinity_width": 8},
    MTINet: {"widths": (8, 8, 16, 16)},
    JTRL: {"width": 8},
}
NETWORKS = pytest.mark.parametrize("kind", list(NARROW), ids=lambda kind: kind.__name__)
WITH_MAIN = pytest.mark.parametrize(
    "kind", [kind for kind in NARROW if kind is not JTRL], ids=lambda kind: kind.__name__
)
# What a task has for itself; everything else is shared.
OWN = {
    PADNet: ["initial.{}.", "distillation.targets.{}.", "heads.{}."],
    PAPNet: ["initial.{}.", "mixtures.{}.", "heads.{}."],
    PSD: ["initial.{}.", "transfers.{}.", "heads.{}."],
    MTINet: [
        *(f"initial.{scale}.{{}}." for scale in range(4)),
        *(f"distillation.{scale}.targets.{{}}." for scale in range(4)),
        "heads.{}.",
    ],
    JTRL: [f"heads.{scale}.{{}}." for scale in range(4)],
}


def tasks_of(kind: type[DeeplySupervisedNetwork]) -> dict[str, int]:
    return {task: CHANNELS[task] for task in list(CHANNELS)[: 2 if kind is JTRL else 3]}


def narrow(kind: type[DeeplySupervisedNetwork], **arguments) -> DeeplySupervisedNetwork:
    torch.manual_seed(0)
    return kind(**{"channels": tasks_of(kind), "encoder": ENCODER} | NARROW[kind] | arguments)


def sums(predictions: dict[str, list[Tensor]]) -> list[Tensor]:
    return [sum(each.mean() for each in of_task) for of_task in predictions.values()]


@NETWORKS
def test_all_predictions_have_the_size_of_the_image(kind):
    network, image = narrow(kind).eval(), torch.rand(2, 3, 50, 70)
    expected = {task: (2, channels, 50, 70) for task, channels in tasks_of(kind).items()}
    with torch.no_grad():
        results, trained = network(image), network.supervised(image)
    assert {task: tuple(result.shape) for task, result in results.items()} == expected
    for task, predictions in trained.items():
        assert {tuple(prediction.shape) for prediction in predictions} == {expected[task]}
        torch.testing.assert_close(predictions[-1], results[task])


@NETWORKS
def test_predictions_on_the_way_differ_from_the_last(kind):
    with torch.no_grad():
        trained = narrow(kind).eval().supervised(torch.rand(1, 3, 64, 64))
    count = {MTINet: 5, JTRL: 4}.get(kind, 2)
    for predictions in trained.values():
        assert len(predictions) == count
        assert all((each - predictions[-1]).abs().max() > 1e-4 for each in predictions[:-1])


@NETWORKS
def test_each_task_has_only_its_own_predictors_and_refinement_for_itself(kind):
    network = narrow(kind)
    predictions = network.predict_all(torch.rand(2, 3, 64, 64))
    found = reach([root_edge(each) for each in sums(predictions)])
    names = {parameter: name for name, parameter in network.named_parameters()}
    for task, own in zip(predictions, found.task_specific, strict=True):
        prefixes = tuple(prefix.format(task) for prefix in OWN[kind])
        if kind is JTRL and task == "depth":
            prefixes += ("turns.7.",)
        assert {names.pop(parameter) for parameter in own} == {
            name for name, _ in network.named_parameters() if name.startswith(prefixes)
        }
    assert {names.pop(parameter) for parameter in found.shared}
    assert not names


@WITH_MAIN
def test_an_auxiliary_task_has_only_its_initial_predictors_for_itself(kind):
    network = narrow(kind, main=["depth", "segmentation"])
    predictions = network.predict_all(torch.rand(2, 3, 64, 64))
    found = reach([root_edge(each) for each in sums(predictions)])
    own = set(found.task_specific[list(predictions).index("normals")])
    names = {name for name, parameter in network.named_parameters() if parameter in own}
    assert names == {
        name for name, _ in network.named_parameters() if "initial" in name and ".normals." in name
    }
    assert "normals" not in network.heads


@WITH_MAIN
def test_an_auxiliary_task_is_predicted_by_its_last_initial_prediction(kind):
    network = narrow(kind, main=["depth"]).eval()
    with torch.no_grad():
        trained = network.supervised(torch.rand(1, 3, 64, 64))
    counts = {task: len(predictions) for task, predictions in trained.items()}
    initial = 4 if kind is MTINet else 1
    assert counts == {"segmentation": initial, "depth": initial + 1, "normals": initial}


@NETWORKS
def test_heads_can_be_cut_off_the_shared_part(kind):
    network = narrow(kind)
    roots = [root_edge(each) for each in sums(network.predict_all(torch.rand(2, 3, 64, 64)))]
    parted = cut(roots, reach(roots).shared)
    assert parted is not None
    assert parted.private


@WITH_MAIN
def test_heads_can_be_cut_off_with_one_main_task(kind):
    """Only that task uses its own features, which have to be joined with those of the others."""
    network = narrow(kind, main=["depth"])
    roots = [root_edge(each) for each in sums(network.predict_all(torch.rand(2, 3, 64, 64)))]
    assert cut(roots, reach(roots).shared) is not None


@NETWORKS
def test_gradients_reach_every_parameter(kind):
    # Narrower, squeeze-and-excitation of MTI-Net has one unit inside, which ReLU may switch off.
    wide = {"widths": (8, 64, 64, 64)} if kind is MTINet else {}
    # Blocks of the encoders of timm start as the identity, with no gradient inside.
    network = narrow(kind, encoder="resnet18", **wide)
    predictions = network.supervised(torch.rand(2, 3, 64, 64))
    sum(
        (each * torch.rand_like(each)).sum() for of_task in predictions.values() for each in of_task
    ).backward()
    assert not [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]


@NETWORKS
@pytest.mark.slow
def test_an_exported_network_gives_the_same_numbers(kind):
    few = {JTRL: {}, PSD: {"main": ["depth"], "iterations": 1}}.get(kind, {"main": ["depth"]})
    two = {task: CHANNELS[task] for task in ("segmentation", "depth")}
    network, image = narrow(kind, channels=two, **few).eval(), torch.rand(1, 3, 50, 70)
    exported = torch.export.export(network, (image,)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(image), network(image), atol=1e-5, rtol=1e-5)


@NETWORKS
def test_stages_without_features_are_fine(kind):
    network = narrow(kind, encoder="mit_b0").eval()
    assert network(torch.rand(1, 3, 64, 64))["depth"].shape == (1, 1, 64, 64)


@NETWORKS
def test_half_precision_keeps_predictions_finite(kind):
    network = narrow(kind).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        predictions = network(torch.rand(1, 3, 64, 64))
    assert all(prediction.isfinite().all() for prediction in predictions.values())


@WITH_MAIN
def test_one_task_alone_is_predicted_too(kind):
    network = narrow(kind, channels={"depth": 1})
    predictions = network.supervised(torch.rand(2, 3, 64, 64))
    sums(predictions)[0].backward()
    assert predictions["depth"][-1].shape == (2, 1, 64, 64)
    assert all(parameter.grad is not None for parameter in network.parameters())


@WITH_MAIN
@pytest.mark.parametrize(
    "main", [["depth", "edges"], []], ids=["an unknown task", "no task at all"]
)
def test_main_tasks_have_to_be_tasks(kind, main):
    with pytest.raises(ValueError, match=rf"`{kind.__name__}\(main=\)` should be one or more"):
        narrow(kind, main=main)


@NETWORKS
def test_other_channels_than_three_are_fine(kind):
    network = narrow(kind, in_channels=4).eval()
    assert network(torch.rand(1, 4, 64, 64))["depth"].shape == (1, 1, 64, 64)
