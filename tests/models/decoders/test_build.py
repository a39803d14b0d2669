"""Decoders by name."""

import pytest
import torch

from lightning_mtl.models.decoders.build import build_decoder, decoder_channels
from lightning_mtl.models.encoders.build import build_encoder


@pytest.mark.parametrize("kind", ["unet", "fpn", "deeplabv3", "linear"])
def test_a_decoder_has_the_channels_that_are_promised(kind):
    encoder = build_encoder("resnet18", output_stride=8 if kind == "deeplabv3" else 32)
    decoder = build_decoder(kind, encoder).eval()
    found = decoder(encoder(torch.rand(2, 3, 64, 64)))
    assert found.shape[1] == decoder_channels(kind, encoder)


def test_an_unknown_decoder_is_named():
    with pytest.raises(ValueError, match=r'"deeplabv3", "linear". Found \'segnet\''):
        build_decoder("segnet", build_encoder("resnet18"))
