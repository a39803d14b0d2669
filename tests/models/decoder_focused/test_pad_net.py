"""PAD-Net is its initial heads and what distillation adds to their features."""

import pytest
import torch
from torch import Tensor

from lightning_mtl.models.decoder_focused.pad_net import PADNet

CHANNELS = {"segmentation": 2, "depth": 1, "normals": 3}
ENCODER = "tu-test_resnet"


def inputs_of(network: PADNet, image: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What the initial and the final predictions are made from."""
    found: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    for heads, into in zip((network.initial, network.heads), found, strict=True):
        for task, head in heads.items():
            head.register_forward_hook(
                lambda _, inputs, __, task=task, into=into: into.update({task: inputs[0]})
            )
    network(image)
    return found


@torch.no_grad()
@pytest.mark.parametrize("gate", ["source", "target"])
def test_without_distillation_the_final_prediction_is_made_from_the_initial_features(gate):
    network = PADNet(CHANNELS, ENCODER, width=8, gate=gate).eval()
    for name, parameter in network.distillation.named_parameters():
        if "values" in name:
            parameter.zero_()
    initial, final = inputs_of(network, torch.rand(1, 3, 64, 64))
    assert all(torch.equal(final[task], initial[task]) for task in CHANNELS)


@torch.no_grad()
@pytest.mark.parametrize("gate", ["source", "target"])
def test_distillation_changes_the_features_of_every_main_task(gate):
    network = PADNet(CHANNELS, ENCODER, width=8, gate=gate, main=["depth", "normals"]).eval()
    initial, final = inputs_of(network, torch.rand(1, 3, 64, 64))
    assert set(final) == {"depth", "normals"}
    assert all((final[task] - initial[task]).abs().max() > 1e-4 for task in final)


def test_an_unknown_gate_is_an_error():
    with pytest.raises(ValueError, match=r'`PADNet\(gate=\)` should be one of "source", "target"'):
        PADNet(CHANNELS, gate="both")


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameters_at_the_size_of_the_survey_are_those_counted_by_hand():
    """Bottlenecks of 256 channels on 2048 of ResNet-50; two 3 x 3 convolutions per pair."""
    with torch.device("meta"):
        network = PADNet({"segmentation": 40, "depth": 1}, "resnet50", source="deepest")
    norms = 2 * (64 + 64 + 256)
    same = 256 * 64 + 64 * 64 * 9 + 64 * 256 + norms
    first = 2048 * 64 + 64 * 64 * 9 + 64 * 256 + norms + 2048 * 256 + 2 * 256
    predictors = 2 * (256 * 41 + 41)
    expected = 2 * (first + 3 * same) + predictors + 2 * 2 * 256 * 256 * 9
    assert count(network) - count(network.encoder) == expected
