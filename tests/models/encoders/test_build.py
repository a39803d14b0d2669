"""Encoders by name."""

import pytest
import torch

from lightning_mtl.models.encoders.build import build_encoder


def test_an_encoder_starts_from_scratch_and_has_five_stages():
    encoder = build_encoder("resnet18")
    features = encoder(torch.rand(1, 3, 64, 96))
    assert [tuple(f.shape[-2:]) for f in features] == [
        (64, 96),
        (32, 48),
        (16, 24),
        (8, 12),
        (4, 6),
        (2, 3),
    ]


@pytest.mark.parametrize("stride", [8, 16])
def test_dilation_keeps_the_deepest_stage_large(stride):
    features = build_encoder("resnet18", output_stride=stride)(torch.rand(1, 3, 64, 64))
    assert features[-1].shape[-1] == 64 // stride


@pytest.mark.parametrize(
    "name", ["resnet19", "", "tu-no_such_model"], ids=["resnet19", "empty", "tu-no_such_model"]
)
def test_an_unknown_encoder_is_named_beside_some_that_are_known(name):
    with pytest.raises(ValueError, match=r"such as .*, or `tu-`") as error:
        build_encoder(name)
    assert repr(name) in str(error.value)


@pytest.mark.parametrize(
    ("name", "stride"), [("vgg11", 8), ("densenet121", 16), ("tu-vit_tiny_patch16_224", 32)]
)
def test_an_encoder_that_cannot_be_dilated_or_has_no_stages_is_named(name, stride):
    # The refusal needs no weights, and those of VGG take seconds to draw.
    message = rf"Found '{name}' with {stride}, .* such as resnet50"
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        build_encoder(name, output_stride=stride)


def test_an_unknown_stride_is_an_error():
    with pytest.raises(ValueError, match=r"one of 8, 16, 32\. Found 4"):
        build_encoder("resnet18", output_stride=4)
