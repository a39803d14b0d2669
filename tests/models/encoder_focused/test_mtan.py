"""The multi-task attention network."""

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.models import MTAN
from tests.support.sharing import can_be_cut, differences

CHANNELS = {"segmentation": 5, "depth": 1, "normals": 3}
ENCODER = "tu-test_resnet"


def image(*size: int) -> Tensor:
    torch.manual_seed(1)
    return torch.rand(2, 3, *size)


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2", "tu-convnext_atto"])
def test_predictions_have_the_size_of_the_image(encoder: str) -> None:
    predictions = MTAN(CHANNELS, encoder, decoder="fpn")(image(50, 70))
    assert {task: tuple(found.shape) for task, found in predictions.items()} == {
        task: (2, channels, 50, 70) for task, channels in CHANNELS.items()
    }


class Ones(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.new_ones(())


@pytest.mark.parametrize(("decoder", "stride"), [("unet", 32), ("deeplabv3", 8)])
def test_with_masks_of_one_it_is_hard_sharing(decoder: str, stride: int) -> None:
    network = MTAN(CHANNELS, "resnet18", None, decoder, stride).eval()
    expected = network.baseline(image(64, 96))
    other = network(image(64, 96))
    assert all(not torch.allclose(other[task], expected[task]) for task in CHANNELS)
    for masks in network.masks.values():
        for index in range(len(masks)):
            masks[index] = Ones()
    found = network(image(64, 96))
    assert all(torch.equal(found[task], expected[task]) for task in CHANNELS)


def test_masks_are_between_zero_and_one_and_see_the_stage_above() -> None:
    """The equations for the first two stages of a dilated encoder, written out."""
    network = MTAN({"depth": 1}, "resnet18", None, "deeplabv3", 8).eval()
    encoder = network.baseline.encoder
    x = (image(64, 64) - network.mean) / network.std
    stem = encoder.maxpool(encoder.relu(encoder.bn1(encoder.conv1(x))))
    before, after = [], []
    for layer in (encoder.layer1, encoder.layer2):
        stem = layer[:-1](stem)
        before.append(stem)
        stem = layer[-1](stem)
        after.append(stem)
    masks = network.masks["depth"]
    first = masks[0](before[0])
    assert 0 < first.min().item() < first.max().item() < 1
    refined = network.refinements[0](first * after[0])
    pooled = nn.functional.max_pool2d(refined, 2)
    second = masks[1](torch.cat([before[1], pooled], 1)) * after[1]
    every = [torch.zeros(2, width, 8, 8) for width in (256, 512)]
    found = network._select("depth", [*before, *every], [*after, *every])
    torch.testing.assert_close(found[0], first * after[0])
    torch.testing.assert_close(found[1], second)


def test_encoder_and_refinements_are_shared_and_masks_are_not() -> None:
    network, inputs = MTAN(CHANNELS, ENCODER), image(64, 64)
    expected = {
        "baseline.encoder.*": "shared",
        "refinements.*": "shared",
        "masks.{task}.*": "{task}",
        "baseline.*.{task}.*": "{task}",
    }
    assert not differences(network, inputs, expected)
    assert can_be_cut(network, inputs)


def test_its_size_is_that_of_the_survey() -> None:
    """72 million parameters for two tasks of NYUD on ResNet-50."""
    with torch.device("meta"):
        network = MTAN({"segmentation": 40, "depth": 1}, "resnet50", None, "deeplabv3", 8)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6) == 72


def test_a_stage_is_divided_where_its_last_block_keeps_the_shape_and_the_input() -> None:
    """The stem of ResNet ends with an activation in place, two stages of MobileNet with others."""
    assert MTAN({"depth": 1}, "resnet18").divided == [False, True, True, True, True]
    assert MTAN({"depth": 1}, "mobilenet_v2").divided == [False, True, True, True, False]
