"""Encoders and decoders of segmentation-models-pytorch, built by name."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, get_args

import segmentation_models_pytorch as smp
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3Decoder
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import Tensor, nn

from lightning_mtl.checks import check_choice

STRIDES = (8, 16, 32)
Decoder = Literal["unet", "fpn", "deeplabv3"]


class Encoder(Protocol):
    """What every encoder of smp has."""

    out_channels: Sequence[int]
    output_stride: int

    def __call__(self, image: Tensor) -> list[Tensor]:
        """The image and its features, at strides 1, 2, 4, ..."""


def build_encoder(name: str, weights: str | None = None, output_stride: int = 32) -> Any:
    """An encoder of segmentation-models-pytorch, with five stages.

    Args:
        name: one that smp knows, `tu-` names of timm included, with features at strides 2 to 32:
            any but plain vision transformers. Some, such as Swin, take one image size only.
        weights: as smp has them, such as "imagenet"; `None` starts from scratch and downloads
            nothing.
        output_stride: 32, or 16 or 8 for a dilated encoder, which those that pool between stages
            cannot be: VGG, DenseNet.

    Raises:
        ValueError: if smp does not know the name, or cannot build it with five stages or dilated.
    """
    check_stride(output_stride)
    try:
        return smp.encoders.get_encoder(
            name, in_channels=3, depth=5, weights=weights, output_stride=output_stride
        )
    except (KeyError, RuntimeError) as error:
        names = smp.encoders.get_encoder_names()
        if name in names:
            raise
        similar = [other for other in names if other[:3] == name[:3]] or names
        raise ValueError(
            f"The encoder should be one that segmentation-models-pytorch knows, such as"
            f" {', '.join(similar[:6])}, or `tu-` and the name of a timm model. Found {name!r}."
        ) from error
    except ValueError as error:
        remedy = "" if output_stride == 32 else "set `output_stride=32`, or "
        raise ValueError(
            f"The encoder should have features at strides 2, 4, 8, 16 and 32, the last of them"
            f" dilated if `output_stride` is less. Found {name!r} with {output_stride}, of which"
            f" smp says: {error} To have them, {remedy}take another encoder, such as resnet50."
        ) from error


def check_stride(output_stride: int) -> None:
    """Raise unless encoders can have the output stride."""
    check_choice("build_encoder", "output_stride", output_stride, STRIDES)


def check_decoder(kind: Decoder, output_stride: int) -> None:
    """Raise unless there is such a decoder, and it can use an encoder of the output stride.

    Raises:
        ValueError: otherwise; "unet" and "fpn" double the size from each stage to the next.
    """
    check_choice("SharedEncoder", "decoder", kind, get_args(Decoder))
    check_stride(output_stride)
    if kind != "deeplabv3" and output_stride != 32:
        raise ValueError(
            f'The decoder "{kind}" should have an encoder of `output_stride` 32. Found'
            f' {output_stride}. Set 32, or `decoder="deeplabv3"`.'
        )


def build_decoder(kind: Decoder, encoder: Encoder) -> nn.Module:
    """A decoder on all five stages; it has `out_channels`, see `decoder_channels`."""
    check_choice("build_decoder", "kind", kind, get_args(Decoder))
    channels = encoder.out_channels
    if kind == "unet":
        return UnetDecoder(channels, (256, 128, 64, 32, 16), n_blocks=5)
    if kind == "fpn":
        return FPNDecoder(channels, encoder_depth=5, dropout=0.0)
    return DeepLabV3Decoder(
        in_channels=channels[-1],
        out_channels=256,
        atrous_rates=(12, 24, 36),
        aspp_separable=False,
        aspp_dropout=0.5,
    )


def decoder_channels(kind: Decoder) -> int:
    """The number of channels that the decoder returns."""
    return {"unet": 16, "fpn": 128, "deeplabv3": 256}[kind]


def head_kernel(kind: Decoder) -> int:
    """The kernel size of the head after a decoder; DeepLab's has a 3 x 3 convolution at its end."""
    return {"unet": 3, "fpn": 3, "deeplabv3": 1}[kind]
