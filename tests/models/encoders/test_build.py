"""Encoders by name."""

import pytest
import timm
import torch

from lightning_mtl.models.encoders.build import build_encoder
from lightning_mtl.models.encoders.token_pyramid import TokenPyramid


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
    ("name", "stride"), [("vgg11", 8), ("densenet121", 16), ("tu-beit_base_patch16_224", 32)]
)
def test_an_encoder_that_cannot_be_dilated_or_has_no_stages_is_named(name, stride):
    # The refusal needs no weights, and those of VGG take seconds to draw.
    message = rf"Found '{name}' with {stride}, .* such as resnet50"
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        build_encoder(name, output_stride=stride)


def test_an_unknown_stride_is_an_error():
    with pytest.raises(ValueError, match=r"one of 8, 16, 32\. Found 4"):
        build_encoder("resnet18", output_stride=4)


def test_a_vision_transformer_has_stages_too():
    encoder = build_encoder("tu-test_vit", in_channels=4, options={"depth": 4})
    assert isinstance(encoder, TokenPyramid)
    assert len(encoder.vit.blocks) == 4
    features = encoder(torch.rand(1, 4, 64, 96))
    assert [feature.shape[-1] for feature in features] == [96, 48, 24, 12, 6, 3]


def test_a_vision_transformer_cannot_be_dilated():
    with pytest.raises(ValueError, match=r"should be 32 .* Found 16 for 'tu-test_vit'"):
        build_encoder("tu-test_vit", output_stride=16)


def test_options_for_an_encoder_that_is_not_of_timm_are_an_error():
    with pytest.raises(ValueError, match=r"`tu-` model .* Found \{'depth': 3\} for 'resnet18'"):
        build_encoder("resnet18", options={"depth": 3})


@pytest.mark.parametrize("name", ["tu-test_vit", "tu-resnet18"], ids=["tokens", "stages"])
def test_any_word_asks_for_the_weights_of_a_timm_model(name, monkeypatch):
    """Nothing is downloaded: the model that is built has none, and says whether it should."""
    asked, create = [], timm.create_model

    def without_weights(name, pretrained=False, **options):
        asked.append(pretrained)
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", without_weights)
    with torch.device("meta"):
        build_encoder(name, "imagenet")
        assert asked[-1] is True
        build_encoder(name)
        assert asked[-1] is False


def test_the_branches_of_hrnet_are_chosen_by_an_option():
    """Those of the survey have 18 to 144 channels at strides 4 to 32."""
    with torch.device("meta"):
        encoder = build_encoder("tu-hrnet_w18_small_v2", options={"feature_location": ""})
        features = encoder(torch.rand(1, 3, 64, 96))
    assert [tuple(feature.shape[1:]) for feature in features[2:]] == [
        (width, 64 // stride, 96 // stride)
        for width, stride in zip((18, 36, 72, 144), (4, 8, 16, 32), strict=True)
    ]
    assert list(encoder.out_channels[2:]) == [18, 36, 72, 144]


@pytest.mark.parametrize(
    "name", ["tu-swin_tiny_patch4_window7_224", "tu-swinv2_tiny_window8_256"], ids=["v1", "v2"]
)
def test_swin_takes_images_of_any_size(name):
    with torch.device("meta"):
        features = build_encoder(name)(torch.rand(2, 3, 64, 96))
    assert [feature.shape[-1] for feature in features] == [96, 48, 24, 12, 6, 3]


def test_an_option_may_keep_swin_at_one_size():
    with torch.device("meta"):
        encoder = build_encoder(
            "tu-swin_tiny_patch4_window7_224", options={"strict_img_size": True}
        )
        with pytest.raises(AssertionError, match="224"):
            encoder(torch.rand(1, 3, 64, 96))
