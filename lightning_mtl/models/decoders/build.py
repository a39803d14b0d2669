"""Decoders of segmentation-models-pytorch and the plain one, built by name."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3Decoder
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import Tensor, nn

from lightning_mtl.checks import check_choice
from lightning_mtl.models.dense_network import resized
from lightning_mtl.models.encoders.build import Encoder, check_stride

Decoder = Literal["unet", "fpn", "deeplabv3", "linear"]


class LinearDecoder(nn.Module):
    """The features of all stages from stride 4 on, at the size of the first, normalised and joined.

    With a 1 x 1 convolution after it, every pixel is predicted by a linear map of its features: the
    plain head that foundation encoders are measured with.

    Args:
        channels: those of the image and of the stages of the encoder.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(sum(channels[2:]))

    def forward(self, features: list[Float[Tensor, "N C h w"]]) -> Float[Tensor, "N C h w"]:
        """The joined features, called with the image and all stages."""
        size = features[2].shape[-2:]
        return self.norm(torch.cat([resized(stage, size) for stage in features[2:]], 1))


def check_decoder(kind: Decoder, output_stride: int) -> None:
    """Raise unless there is such a decoder, and it can use an encoder of the output stride.

    Raises:
        ValueError: otherwise; "unet" and "fpn" double the size from each stage to the next.
    """
    check_choice("SharedEncoder", "decoder", kind, get_args(Decoder))
    check_stride(output_stride)
    if kind in ("unet", "fpn") and output_stride != 32:
        raise ValueError(
            f'The decoder "{kind}" should have an encoder of `output_stride` 32. Found'
            f' {output_stride}. Set 32, or `decoder="deeplabv3"`.'
        )


def build_decoder(kind: Decoder, encoder: Encoder) -> nn.Module:
    """A decoder on all five stages; it returns as many channels as `decoder_channels` says."""
    check_choice("build_decoder", "kind", kind, get_args(Decoder))
    channels = encoder.out_channels
    if kind == "unet":
        return UnetDecoder(channels, (256, 128, 64, 32, 16), n_blocks=5)
    if kind == "fpn":
        return FPNDecoder(channels, encoder_depth=5, dropout=0.0)
    if kind == "linear":
        return LinearDecoder(channels)
    return DeepLabV3Decoder(
        in_channels=channels[-1],
        out_channels=256,
        atrous_rates=(12, 24, 36),
        aspp_separable=False,
        aspp_dropout=0.5,
    )


def decoder_channels(kind: Decoder, encoder: Encoder) -> int:
    """The number of channels that the decoder returns."""
    if kind == "linear":
        return sum(encoder.out_channels[2:])
    return {"unet": 16, "fpn": 128, "deeplabv3": 256}[kind]


def head_kernel(kind: Decoder) -> int:
    """The kernel size of the head after a decoder; DeepLab's has a 3 x 3 convolution at its end."""
    return {"unet": 3, "fpn": 3, "deeplabv3": 1, "linear": 1}[kind]
