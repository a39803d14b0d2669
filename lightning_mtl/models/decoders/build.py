"""Decoders of segmentation-models-pytorch and the plain one, built by name."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

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


DECODERS: Mapping[Decoder, Callable[..., nn.Module]] = {
    "unet": UnetDecoder,
    "fpn": FPNDecoder,
    "deeplabv3": DeepLabV3Decoder,
    "linear": LinearDecoder,
}


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


def build_decoder(
    kind: Decoder, encoder: Encoder, options: Mapping[str, Any] | None = None
) -> nn.Module:
    """A decoder on all five stages; it returns as many channels as `decoder_channels` says.

    Args:
        kind: which one.
        encoder: whose features it is given.
        options: arguments of the decoder's class in place of the usual ones, such as
            `{"pyramid_channels": 64, "segmentation_channels": 64}` for a narrow "fpn".

    Raises:
        ValueError: if the kind is not known, or its class has no such argument.
    """
    check_choice("build_decoder", "kind", kind, get_args(Decoder))
    arguments = _arguments(kind, encoder, options)
    try:
        return DECODERS[kind](**arguments)
    except TypeError as error:
        known = sorted(inspect.signature(DECODERS[kind]).parameters)
        raise ValueError(
            f'The options of the decoder "{kind}" should be arguments of'
            f" `{DECODERS[kind].__name__}`: {known}. Found {sorted(options or {})}."
        ) from error


def decoder_channels(
    kind: Decoder, encoder: Encoder, options: Mapping[str, Any] | None = None
) -> int:
    """The number of channels that the decoder returns."""
    arguments = _arguments(kind, encoder, options)
    if kind == "linear":
        return sum(arguments["channels"][2:])
    if kind == "unet":
        return int(arguments["decoder_channels"][-1])
    return int(arguments["segmentation_channels" if kind == "fpn" else "out_channels"])


def _arguments(
    kind: Decoder, encoder: Encoder, options: Mapping[str, Any] | None
) -> dict[str, Any]:
    """All arguments of the decoder's class."""
    channels = encoder.out_channels
    usual: dict[Decoder, dict[str, Any]] = {
        "unet": {
            "encoder_channels": channels,
            "decoder_channels": (256, 128, 64, 32, 16),
            "n_blocks": 5,
        },
        "fpn": {
            "encoder_channels": channels,
            "encoder_depth": 5,
            "segmentation_channels": 128,
            "dropout": 0.0,
        },
        "deeplabv3": {
            "in_channels": channels[-1],
            "out_channels": 256,
            "atrous_rates": (12, 24, 36),
            "aspp_separable": False,
            "aspp_dropout": 0.5,
        },
        "linear": {"channels": channels},
    }
    return usual[kind] | dict(options or {})


def head_kernel(kind: Decoder) -> int:
    """The kernel size of the head after a decoder; DeepLab's has a 3 x 3 convolution at its end."""
    return {"unet": 3, "fpn": 3, "deeplabv3": 1, "linear": 1}[kind]
