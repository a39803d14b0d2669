"""How the last stages of a dilated ResNet are dilated."""

import pytest
import torch

from lightning_mtl.models import MTAN, CrossStitch, SharedEncoder
from lightning_mtl.models.encoders.build import build_encoder


def dilations(name: str, stride: int, dilation: str) -> list[tuple[int, int]]:
    """Of the first two 3 x 3 convolutions that count in stages 3 and 4."""
    encoder = build_encoder(name, output_stride=stride, dilation=dilation)
    found = []
    for stage in (encoder.layer3, encoder.layer4):
        strided = "conv2" if name == "resnet50" else "conv1"
        convolutions = [getattr(block, strided) for block in stage]
        assert all(c.padding == c.dilation for c in convolutions)
        found.append((convolutions[0].dilation[0], convolutions[1].dilation[0]))
    return found


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize(
    ("stride", "dilation", "expected"),
    [
        (8, "smp", [(2, 2), (4, 4)]),
        (8, "survey", [(1, 2), (2, 4)]),
        (16, "survey", [(1, 1), (1, 2)]),
        (32, "survey", [(1, 1), (1, 1)]),
    ],
)
def test_the_convolution_that_had_the_stride_is_dilated_by_the_rule(
    name: str, stride: int, dilation: str, expected: list[tuple[int, int]]
) -> None:
    with torch.device("meta"):
        assert dilations(name, stride, dilation) == expected


def test_both_rules_keep_the_size_and_give_other_numbers() -> None:
    torch.manual_seed(0)
    plain = build_encoder("resnet18", output_stride=8).eval()
    other = build_encoder("resnet18", output_stride=8, dilation="survey").eval()
    other.load_state_dict(plain.state_dict())
    image = torch.rand(1, 3, 64, 64)
    deep, also = plain(image)[-1], other(image)[-1]
    assert deep.shape == also.shape == (1, 512, 8, 8)
    assert not torch.allclose(deep, also)


@pytest.mark.parametrize("kind", [SharedEncoder, CrossStitch, MTAN], ids=lambda k: k.__name__)
def test_networks_of_the_survey_take_the_rule(kind: type) -> None:
    with torch.device("meta"):
        network = kind({"depth": 1}, "resnet18", None, "deeplabv3", 8, dilation="survey")
    strided = [m for n, m in network.named_modules() if n.endswith("encoder.layer4.0.conv1")]
    assert [c.dilation for c in strided] == [(2, 2)]


@pytest.mark.parametrize("name", ["mobilenet_v2", "tu-test_vit"])
def test_the_rule_of_the_survey_is_for_resnets(name: str) -> None:
    with pytest.raises(ValueError, match=rf"should be given a ResNet .* Found '{name}'"):
        build_encoder(name, dilation="survey")
