"""MTI-Net distils at each of four scales the features that its initial predictions are made of."""

import pytest
import torch

from lightning_mtl.models.decoder_focused.feature_propagation import across_channels, across_tasks
from lightning_mtl.models.decoder_focused.mti_net import MTINet

CHANNELS = {"segmentation": 2, "depth": 1, "normals": 3}
ENCODER = "tu-test_resnet"
WIDTHS = (8, 8, 16, 16)


@torch.no_grad()
def test_without_distillation_final_predictions_are_made_from_the_initial_features():
    network = MTINet(CHANNELS, ENCODER, main=["depth", "normals"], widths=WIDTHS).eval()
    for name, parameter in network.distillation.named_parameters():
        if "values" in name:
            parameter.zero_()
    initial: list[dict] = []
    final = {}
    for predict in network.initial:
        predict.register_forward_hook(lambda _, inputs, __: initial.append(inputs[0]))
    for task, head in network.heads.items():
        head.register_forward_hook(lambda _, inputs, __, task=task: final.update({task: inputs[0]}))
    network(torch.rand(1, 3, 64, 64))
    assert list(final) == ["depth", "normals"]
    for task, scales in final.items():
        assert len(scales) == len(initial) == 4
        pairs = zip(scales, initial, strict=True)
        assert all(torch.equal(scale, features[task]) for scale, features in pairs)


@torch.no_grad()
def test_distillation_changes_the_features_of_every_main_task_at_every_scale():
    network = MTINet(CHANNELS, ENCODER, main=["depth", "normals"], widths=WIDTHS).eval()
    features = network.initial_features(torch.rand(1, 3, 64, 64))
    for refined, initial in zip(network.refine(features), features, strict=True):
        assert list(refined) == ["depth", "normals"]
        assert all((refined[task] - initial[task]).abs().max() > 1e-5 for task in refined)


@torch.no_grad()
def test_predictions_come_coarsest_first_and_the_final_one_last():
    network = MTINet(CHANNELS, ENCODER, main=["depth"], widths=WIDTHS).eval()
    predictions = network.predict_all(torch.rand(1, 3, 64, 64))
    sides = {task: [each.shape[-1] for each in of_task] for task, of_task in predictions.items()}
    assert sides == {
        "segmentation": [2, 4, 8, 16],
        "depth": [2, 4, 8, 16, 16],
        "normals": [2, 4, 8, 16],
    }


def test_finer_features_of_a_task_use_the_coarser_ones_of_the_others():
    network = MTINet(CHANNELS, ENCODER, widths=WIDTHS).eval()
    features = network.initial_features(torch.rand(1, 3, 64, 64))
    parameters = list(network.features[3]["segmentation"].parameters())
    for scale in (0, 1, 2):
        gradients = torch.autograd.grad(
            features[scale]["depth"].square().sum(), parameters, retain_graph=True
        )
        assert any(gradient.abs().max() > 0 for gradient in gradients)


@pytest.mark.parametrize(
    ("softmax", "function"), [("tasks", across_tasks), ("channels", across_channels)]
)
def test_masks_of_all_scales_are_normalised_as_told(softmax, function):
    network = MTINet(CHANNELS, ENCODER, widths=WIDTHS, softmax=softmax)
    assert [scale.normalise for scale in network.propagation] == [function] * 3


def test_without_widths_features_have_the_channels_of_the_encoder():
    with torch.device("meta"):
        network = MTINet({"depth": 1}, widths=None)
        features = network.initial_features(torch.rand(1, 3, 64, 64))
    assert [scale["depth"].shape[1] for scale in features] == [64, 128, 256, 512]
    assert not list(network.laterals.parameters())


def test_the_published_network_is_built_on_the_branches_of_hrnet():
    """8.6 and 14.8 million parameters, without the classifier of HRNet."""
    published = {
        "encoder": "tu-hrnet_w18_small_v2",
        "main": ["segmentation", "depth"],
        "widths": None,
        "encoder_options": {"feature_location": ""},
    }
    tasks = {"segmentation": 40, "depth": 1}
    with torch.device("meta"):
        both = MTINet(tasks, **published)
        more = MTINet(tasks | {"edges": 1, "normals": 3}, **published)
    assert list(both.encoder.out_channels[2:]) == [18, 36, 72, 144]
    assert both.heads["depth"].prediction.in_channels == 270
    millions = [sum(p.numel() for p in each.parameters()) / 1e6 for each in (both, more)]
    assert [round(each, 1) for each in millions] == [8.6, 14.8]


def test_an_unknown_softmax_is_an_error():
    with pytest.raises(ValueError, match=r'`MTINet\(softmax=\)` should be one of "tasks", "cha'):
        MTINet(CHANNELS, softmax="pixels")


@pytest.mark.parametrize(
    "widths", [(8, 8, 8), (8, 8, 8, 2)], ids=["three scales", "too few channels"]
)
def test_wrong_widths_are_an_error(widths):
    with pytest.raises(ValueError, match=r"`MTINet\(widths=\)` should be four .* Set `None` for"):
        MTINet(CHANNELS, widths=widths)
