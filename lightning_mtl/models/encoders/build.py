"""Encoders of segmentation-models-pytorch and timm, built by name."""

from collections.abc import Sequence
from typing import Any, Protocol

import segmentation_models_pytorch as smp
from torch import Tensor

from lightning_mtl.checks import check_choice

STRIDES = (8, 16, 32)


class Encoder(Protocol):
    """What every encoder of smp has."""

    out_channels: Sequence[int]
    output_stride: int

    def __call__(self, image: Tensor) -> list[Tensor]:
        """The image and its features, at strides 1, 2, 4, ..."""


def build_encoder(
    name: str, weights: str | None = None, output_stride: int = 32, in_channels: int = 3
) -> Any:
    """An encoder of segmentation-models-pytorch, with five stages.

    Args:
        name: one that smp knows, `tu-` names of timm included, with features at strides 2 to 32:
            any but plain vision transformers. Some, such as Swin, take one image size only.
        weights: as smp has them, such as "imagenet"; `None` starts from scratch and downloads
            nothing.
        output_stride: 32, or 16 or 8 for a dilated encoder, which those that pool between stages
            cannot be: VGG, DenseNet.
        in_channels: channels of the image; those of pretrained weights are repeated or averaged to
            as many.

    Raises:
        ValueError: if smp does not know the name, or cannot build it with five stages or dilated.
    """
    check_stride(output_stride)
    try:
        return smp.encoders.get_encoder(
            name,
            in_channels=in_channels,
            depth=5,
            weights=weights,
            output_stride=output_stride,
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
