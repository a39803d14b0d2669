"""Encoders of segmentation-models-pytorch and timm, built by name."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import segmentation_models_pytorch as smp
from timm.models import is_model_in_modules
from torch import Tensor

from lightning_mtl.checks import check_choice
from lightning_mtl.models.encoders.dilation import Dilation, dilate
from lightning_mtl.models.encoders.token_pyramid import TokenPyramid, has_tokens

STRIDES = (8, 16, 32)


class Encoder(Protocol):
    """What every encoder of smp has."""

    out_channels: Sequence[int]
    output_stride: int

    def __call__(self, image: Tensor) -> list[Tensor]:
        """The image and its features, at strides 1, 2, 4, ..."""


def build_encoder(
    name: str,
    weights: str | None = None,
    output_stride: int = 32,
    in_channels: int = 3,
    options: Mapping[str, Any] | None = None,
    deepest: bool = False,
    dilation: Dilation = "smp",
) -> Any:
    """An encoder of segmentation-models-pytorch or timm, with five stages.

    Args:
        name: one that smp knows, or `tu-` and the name of a model in timm that has features at
            strides 2 to 32 or 4 to 32. Plain vision transformers (ViT, DINOv2, DINOv3, EVA) become
            a `TokenPyramid`. Like some others, such as "mit_b0" and Swin, they have no channels at
            stride 2. Swin is built for images of any size. Transformers with other windows or
            positions, such as MaxViT, take one size only: set `options={"img_size": ...}` where the
            model has it, to the size of the images, padded to a multiple of 32.
        weights: as smp has them, such as "imagenet"; `None` starts from scratch and downloads
            nothing. The weights of a `tu-` model are part of its name; here any word will do.
        output_stride: 32, or 16 or 8 for a dilated encoder, which those that pool between stages
            cannot be: VGG, DenseNet; nor can transformers.
        in_channels: channels of the image; those of pretrained weights are repeated or averaged to
            as many.
        options: further keyword arguments of the model in timm, such as `{"feature_location": ""}`
            for the branches of HRNet instead of their wider copies, or `{"drop_path_rate": 0.1}`.
        deepest: whether only the last feature is needed. A `TokenPyramid` then makes no others,
            whose parameters would never be trained.
        dilation: how the last stages of a ResNet are dilated, see `dilate`: as smp or as the survey
            does it.

    Raises:
        ValueError: if smp does not know the name, if it cannot build it with five stages or
            dilated, or if there are options for another than a `tu-` model.
    """
    check_stride(output_stride)
    if options and not name.startswith("tu-"):
        raise ValueError(
            "`build_encoder(options=)` should be given for a `tu-` model of timm only. Found"
            f" {dict(options)} for {name!r}. Leave it out, or take the encoder of timm."
        )
    encoder: Any
    if has_tokens(name):
        _check_stride_of_tokens(name, output_stride)
        encoder = TokenPyramid(name[3:], weights is not None, in_channels, options, deepest)
    else:
        encoder = _staged_encoder(name, weights, output_stride, in_channels, options)
    dilate(encoder, dilation, name)
    return encoder


def _staged_encoder(
    name: str,
    weights: str | None,
    output_stride: int,
    in_channels: int,
    options: Mapping[str, Any] | None,
) -> Any:
    """An encoder of smp, which says itself what it cannot build."""
    try:
        return smp.encoders.get_encoder(
            name,
            in_channels=in_channels,
            depth=5,
            # A word would be a warning, as the weights of `tu-` models are part of their names.
            weights=True if weights is not None and name.startswith("tu-") else weights,
            output_stride=output_stride,
            **{**_size_options(name), **(options or {})},
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


def _check_stride_of_tokens(name: str, output_stride: int) -> None:
    if output_stride != 32:
        raise ValueError(
            "`build_encoder(output_stride=)` should be 32 for a vision transformer, which has one"
            f" stride inside. Found {output_stride} for {name!r}. Set 32, or take another encoder,"
            " such as resnet50."
        )


def _size_options(name: str) -> dict[str, Any]:
    """What lets a transformer with windows take images of any size."""
    swin = ("swin_transformer", "swin_transformer_v2")
    fixed = name.startswith("tu-") and is_model_in_modules(name[3:], swin)
    return {"strict_img_size": False} if fixed else {}
