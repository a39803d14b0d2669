"""One encoder, one decoder and head per task, at the size of the image."""

from io import BytesIO

import pytest
import torch
from torch import Tensor

from lightning_mtl.engine.graph import cut, reach, root_edge
from lightning_mtl.models import DenseNetwork, SharedEncoder
from lightning_mtl.models.dense_network import IMAGENET_MEAN, IMAGENET_STD

CHANNELS = {"segmentation": 5, "depth": 1}
DECODERS = pytest.mark.parametrize(
    ("decoder", "stride"),
    [("unet", 32), ("fpn", 32), ("deeplabv3", 8), ("deeplabv3", 16), ("linear", 16)],
)


@DECODERS
@pytest.mark.parametrize("size", [(64, 64), (50, 70)])
def test_predictions_have_the_size_of_the_image(decoder, stride, size):
    network = SharedEncoder(CHANNELS, decoder=decoder, output_stride=stride).eval()
    predictions = network(torch.rand(2, 3, *size))
    assert {task: tuple(p.shape) for task, p in predictions.items()} == {
        task: (2, channels, *size) for task, channels in CHANNELS.items()
    }


@DECODERS
def test_tasks_share_the_encoder_and_nothing_else(decoder, stride):
    network = SharedEncoder(CHANNELS, decoder=decoder, output_stride=stride).eval()
    predictions = network(torch.rand(2, 3, 64, 64))
    roots = [root_edge(predictions[task].mean()) for task in CHANNELS]
    found = reach(roots)
    assert set(found.shared) <= set(network.encoder.parameters())
    assert len(found.shared) > 50
    for task, own in zip(CHANNELS, found.task_specific, strict=True):
        assert set(own) <= {
            *network.decoders[task].parameters(),
            *network.heads[task].parameters(),
        }
        assert set(network.heads[task].parameters()) <= set(own)


@DECODERS
def test_heads_can_be_cut_off_the_encoder(decoder, stride):
    """Skip connections would otherwise make every cheap mode pay for the heads twice."""
    network = SharedEncoder(CHANNELS, decoder=decoder, output_stride=stride).eval()
    predictions = network(torch.rand(2, 3, 64, 64))
    roots = [root_edge(predictions[task].mean()) for task in CHANNELS]
    parted = cut(roots, reach(roots).shared)
    assert parted is not None
    assert parted.private


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("decoder", ["unet", "fpn"])
def test_a_decoder_that_needs_every_stage_refuses_a_dilated_encoder(decoder, stride):
    with pytest.raises(ValueError, match=rf'"{decoder}" .* 32. Found {stride}. .*"deeplabv3"'):
        SharedEncoder(CHANNELS, decoder=decoder, output_stride=stride)


def test_an_unknown_decoder_is_an_error_before_the_encoder_is_built():
    with pytest.raises(ValueError, match=r'"deeplabv3", "linear"\. Found \'segnet\''):
        SharedEncoder(CHANNELS, encoder="no such encoder", decoder="segnet")


def test_stages_without_features_are_fine():
    network = SharedEncoder(CHANNELS, encoder="mit_b0").eval()
    assert network(torch.rand(1, 3, 64, 64))["depth"].shape == (1, 1, 64, 64)


def millions(network: SharedEncoder) -> int:
    return round(sum(parameter.numel() for parameter in network.parameters()) / 1e6)


def test_deeplab_is_that_of_the_survey():
    """56 million parameters for two tasks of NYUD on ResNet-50, 40 for one; heads of 1 x 1."""
    published = {"encoder": "resnet50", "decoder": "deeplabv3", "output_stride": 8}
    with torch.device("meta"):
        both = SharedEncoder({"segmentation": 40, "depth": 1}, **published)
        alone = SharedEncoder({"depth": 1}, **published)
    assert (millions(both), millions(alone)) == (56, 40)
    assert [tuple(head.weight.shape) for head in both.heads.values()] == [
        (40, 256, 1, 1),
        (1, 256, 1, 1),
    ]


class Echo(DenseNetwork):
    """Says what it is given."""

    def predict(self, image: Tensor) -> dict[str, Tensor]:
        assert image.shape[-2] % self.stride == image.shape[-1] % self.stride == 0
        return {"same": image, "half": image[..., ::2, ::2], "vector": image.mean((-2, -1))}


def test_images_are_standardised_padded_with_their_edge_and_cropped_back():
    image = torch.rand(2, 3, 20, 30)
    found = Echo(stride=16)(image)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close(found["same"], (image - mean) / std)
    assert found["half"].shape == image.shape
    assert found["vector"].shape == (2, 3)


def test_constants_follow_the_module_but_are_not_saved():
    network = Echo(stride=16)
    assert network.to(torch.float64).mean.dtype == torch.float64
    assert not network.state_dict()


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_traced_and_saved_network_gives_the_same_numbers() -> None:
    network, image = SharedEncoder(CHANNELS).eval(), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = network(image)
    file = BytesIO()
    torch.jit.save(torch.jit.trace(network, image, strict=False), file)
    file.seek(0)
    found = torch.jit.load(file)(image)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
