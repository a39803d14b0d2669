"""Encoders and decoders of segmentation-models-pytorch, built by name."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import segmentation_models_pytorch as smp
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3Decoder
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import Tensor, nn

Decoder = Literal["unet", "fpn", "deeplabv3"]


class Encoder(Protocol):
    """What smp promises of every encoder."""

    out_channels: Sequence[int]
    output_stride: int

    def __call__(self, image: Tensor) -> list[Tensor]:
        """The image and its features, at strides 1, 2, 4, ..."""


def build_encoder(name: str, weights: str | None = None, output_stride: int = 32) -> Any:
    """An encoder of segmentation-models-pytorch, with five stages.

    Args:
        name: any that smp knows, `tu-` names of timm included.
        weights: as smp has them, such as "imagenet"; `None` starts from scratch and downloads
            nothing.
        output_stride: 32, or 16 or 8 for a dilated encoder.

    Raises:
        ValueError: if smp does not know the name.
    """
    try:
        return smp.encoders.get_encoder(
            name, in_channels=3, depth=5, weights=weights, output_stride=output_stride
        )
    except (KeyError, RuntimeError) as error:
        known = smp.encoders.get_encoder_names()
        if name in known:
            raise
        similar = [other for other in known if other[:3] == name[:3]] or known
        raise ValueError(
            f"The encoder should be one that segmentation-models-pytorch knows, such as"
            f" {', '.join(similar[:6])}, or `tu-` and the name of a timm model. Found {name!r}."
        ) from error


def build_decoder(kind: Decoder, encoder: Encoder) -> nn.Module:
    """A decoder on all five stages; it has `out_channels`, see `decoder_channels`."""
    channels = encoder.out_channels
    if kind == "unet":
        return UnetDecoder(channels, (256, 128, 64, 32, 16), n_blocks=5)
    if kind == "fpn":
        return FPNDecoder(channels, encoder_depth=5, dropout=0.0)
    if kind == "deeplabv3":
        return DeepLabV3Decoder(
            in_channels=channels[-1],
            out_channels=256,
            atrous_rates=(12, 24, 36),
            aspp_separable=False,
            aspp_dropout=0.5,
        )
    raise ValueError(f'The decoder should be "unet", "fpn" or "deeplabv3". Found {kind!r}.')


def decoder_channels(kind: Decoder) -> int:
    """The channels of what the decoder returns."""
    return {"unet": 16, "fpn": 128, "deeplabv3": 256}[kind]
