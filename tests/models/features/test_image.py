import pytest
import torch

from lightning_mtl.models import PooledEncoder
from lightning_mtl.models.features.image import ImageFeatures


def test_features_are_those_of_a_pooled_encoder():
    torch.manual_seed(0)
    # Both in training: with running means of a new encoder its features are next to zero.
    backbone, network = ImageFeatures("mobilenet_v2"), PooledEncoder({}, "mobilenet_v2")
    network.encoder.load_state_dict(backbone.pooled.encoder.state_dict())
    network.heads["mean"] = torch.nn.Identity()
    image = torch.rand(2, 3, 50, 70)
    found = backbone(image)
    assert found.shape == (2, backbone.out_features)
    torch.testing.assert_close(found, network(image)["mean"])


def test_images_may_have_other_channels():
    backbone = ImageFeatures("mobilenet_v2", in_channels=4)
    assert backbone(torch.rand(2, 4, 64, 64)).shape == (2, 1280)
    with pytest.raises(ValueError, match=r"\(N, 4, H, W\)\. Found \(2, 3, 64, 64\)"):
        backbone(torch.rand(2, 3, 64, 64))


@pytest.mark.parametrize(
    "arguments",
    [{"in_channels": 0}, {"encoder": "no such encoder"}],
    ids=["no channel", "unknown encoder"],
)
def test_wrong_arguments_are_errors(arguments):
    with pytest.raises(ValueError, match="Found"):
        ImageFeatures(**arguments)
