"""Encoders, stage by stage."""

import pytest
import torch

from lightning_mtl.models.encoders.build import build_encoder
from lightning_mtl.models.encoders.stages import all_features, encoder_stages, run

ENCODERS = [
    ("resnet18", 32),
    ("resnet18", 8),
    ("mobilenet_v2", 16),
    ("tu-test_resnet", 32),
    ("tu-test_efficientnet", 32),
    ("tu-mobilenetv3_small_050", 32),
    ("tu-regnety_002", 32),
    ("tu-convnext_atto", 32),
]


@pytest.mark.parametrize(("name", "stride"), ENCODERS, ids=lambda value: str(value))
def test_the_stages_one_after_the_other_are_the_encoder(name: str, stride: int) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(name, output_stride=stride).eval()
    x = image = torch.rand(2, 3, 64, 96)
    maps = []
    for stage in encoder_stages(encoder):
        x = run(stage.blocks, x)
        maps.append(x)
    found, expected = all_features(image, maps), encoder(image)
    assert [f.shape for f in found] == [f.shape for f in expected]
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


def test_each_stage_says_which_feature_it_ends_with() -> None:
    levels = [stage.level for stage in encoder_stages(build_encoder("tu-convnext_atto"))]
    assert levels == [2, 3, 4, 5]
    levels = [stage.level for stage in encoder_stages(build_encoder("resnet18"))]
    assert levels == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("name", ["tu-hrnet_w18_small_v2", "mit_b0"])
def test_an_encoder_without_a_plain_sequence_of_stages_is_refused_with_others(name: str) -> None:
    encoder = build_encoder(name)
    with pytest.raises(ValueError, match=r"should be a ResNet.* Found `\w+`\. Take one of these"):
        encoder_stages(encoder)
