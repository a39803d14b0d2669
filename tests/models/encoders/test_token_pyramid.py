"""Plain vision transformers as encoders with stages."""

import pytest
import torch
from torch import Tensor

from lightning_mtl.models import SharedEncoder
from lightning_mtl.models.dense_network import IMAGENET_MEAN, IMAGENET_STD
from lightning_mtl.models.encoders.token_pyramid import TokenPyramid, has_tokens

SMALL = {"embed_dim": 64, "depth": 4, "num_heads": 2}
NAMES = [
    "test_vit",
    "vit_small_patch14_reg4_dinov2",
    "vit_small_patch16_dinov3",
    "eva02_tiny_patch14_224",
    "vit_small_patch8_224",
    "vit_small_patch32_224",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            "test_vit2",
            "test_vit3",
            "vit_small_patch14_dinov2",
            "vit_base_patch16_rope_mixed_224",
            "vit_base_patch16_siglip_224",
            "deit_tiny_distilled_patch16_224",
            "vit_small_r26_s32_224",
            "vitamin_small_224",
        )
    ),
]


@pytest.mark.parametrize("name", NAMES)
def test_stages_have_the_strides_and_channels_of_an_encoder(name):
    with torch.device("meta"):
        encoder = TokenPyramid(name)
        features = encoder(torch.rand(2, 3, 64, 96))
    assert [tuple(feature.shape[1:]) for feature in features] == [
        (channels, 64 // stride, 96 // stride)
        for channels, stride in zip(encoder.out_channels, (1, 2, 4, 8, 16, 32), strict=True)
    ]
    assert encoder.output_stride == 32


def test_widths_are_an_eighth_to_all_of_the_embedding():
    with torch.device("meta"):
        assert TokenPyramid("vit_small_patch16_224").out_channels == [3, 0, 48, 96, 192, 384]
        assert TokenPyramid("test_vit").out_channels == [3, 0, 16, 16, 32, 64]
        widths = TokenPyramid("test_vit", options={"embed_dim": 200, "num_heads": 2}).out_channels
    assert widths == [3, 0, 32, 56, 104, 200]


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("vit_small_patch14_dinov2", SMALL, (56, 84)),
        ("vit_small_patch16_dinov3", SMALL, (64, 96)),
        ("vit_small_patch8_224", SMALL, (64, 96)),
        ("vit_small_patch32_224", SMALL, (64, 96)),
        ("vit_small_patch16_224", {**SMALL, "patch_size": 10}, (80, 120)),
    ],
    ids=["14", "16", "8", "32", "10"],
)
def test_an_image_is_resized_so_that_patches_have_a_stride_of_a_power_of_two(name, options, size):
    encoder, seen = TokenPyramid(name, options=options), []
    encoder.vit.patch_embed.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoder(torch.rand(1, 3, 64, 96))
    assert [tuple(image.shape[-2:]) for image in seen] == [size]


@pytest.mark.parametrize("channels", [1, 3, 4], ids=["grey", "colour", "colour and depth"])
def test_the_transformer_sees_the_statistics_that_it_was_trained_with(channels):
    """Test models of timm have a mean and a deviation of one half, DINOv2 those of ImageNet."""
    image = torch.rand(2, channels, 32, 32)
    network = SharedEncoder({"depth": 1}, "tu-test_vit", decoder="linear", in_channels=channels)
    seen: list[Tensor] = []
    patches = network.encoder.vit.patch_embed
    patches.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network.eval()(image)
    torch.testing.assert_close(seen[0][:, :3], (image[:, :3] - 0.5) / 0.5)
    torch.testing.assert_close(seen[0][:, 3:], image[:, 3:])


def test_statistics_of_imagenet_stay_as_they_are():
    encoder = TokenPyramid("vit_small_patch14_dinov2", options=SMALL)
    assert encoder.vit.pretrained_cfg["mean"] == IMAGENET_MEAN
    assert encoder.vit.pretrained_cfg["std"] == IMAGENET_STD
    assert encoder.scale.flatten().tolist() == [1, 1, 1]
    assert encoder.shift.flatten().tolist() == [0, 0, 0]


def test_constants_follow_the_encoder_but_are_not_saved():
    encoder = TokenPyramid("test_vit").to(torch.float64)
    assert encoder.scale.dtype == encoder.shift.dtype == torch.float64
    assert not {"scale", "shift"} & set(encoder.state_dict())


@pytest.mark.parametrize(("depth", "indices"), [(4, [0, 1, 2, 3]), (6, [0, 2, 3, 5])])
def test_the_blocks_are_evenly_spaced_and_end_with_the_last(depth, indices):
    assert TokenPyramid("test_vit", options={"depth": depth}).indices == indices


def test_a_transformer_of_too_few_blocks_is_an_error():
    with pytest.raises(ValueError, match=r"options\['depth'\].* at least 4\. Found 3"):
        TokenPyramid("test_vit", options={"depth": 3})


@pytest.mark.parametrize(
    "name", ["test_vit2", "vit_base_patch16_siglip_224", "vit_small_patch16_dinov3"]
)
def test_gradients_reach_every_parameter(name):
    """No head, pooling or norm of the classifier is left over, which replicas would wait for."""
    encoder = TokenPyramid(name, options={} if name == "test_vit2" else SMALL)
    sum(feature.mean() for feature in encoder(torch.rand(1, 3, 64, 64))[2:]).backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("decoder", ["unet", "fpn", "linear"])
def test_decoders_take_its_features(decoder):
    network = SharedEncoder({"depth": 1}, "tu-test_vit", decoder=decoder).eval()
    assert network(torch.rand(2, 3, 50, 70))["depth"].shape == (2, 1, 50, 70)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("vit_small_patch14_dinov2", SMALL, marks=pytest.mark.slow),
        ("vit_small_patch16_dinov3", SMALL),
        pytest.param("eva02_tiny_patch14_224", SMALL, marks=pytest.mark.slow),
    ],
    ids=["dinov2", "dinov3", "eva02"],
)
@pytest.mark.slow
def test_an_exported_encoder_gives_the_same_numbers(name, options):
    encoder, image = TokenPyramid(name, options=options).eval(), torch.rand(1, 3, 64, 96)
    exported = torch.export.export(encoder, (image,)).module()
    torch.testing.assert_close(exported(image), encoder(image), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tu-vit_small_patch14_dinov2.lvd142m", True),
        ("tu-eva02_small_patch14_224", True),
        ("vit_small_patch14_dinov2", False),
        ("tu-resnet18", False),
        ("tu-beit_base_patch16_224", False),
        ("tu-no_such_model", False),
    ],
)
def test_transformers_of_timm_that_take_any_size_are_known_by_name(name, expected):
    assert has_tokens(name) is expected
