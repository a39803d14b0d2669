"""`TokenPyramid`, plain vision transformers with the features of an encoder with stages."""

from collections.abc import Mapping
from typing import Any

import timm
import torch
from jaxtyping import Float
from timm.models import is_model_in_modules
from torch import Tensor, nn

from lightning_mtl.checks import check_number
from lightning_mtl.models.dense_network import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    resized,
    standardisation,
)

__all__ = ["TokenPyramid", "has_tokens"]

STRIDES = (4, 8, 16, 32)
# The modules of timm whose transformers take images of any size; those of others do not.
MODULES = ("deit", "eva", "vision_transformer", "vision_transformer_hybrid", "vitamin")


class TokenPyramid(nn.Module):
    """A plain vision transformer with features at strides 4, 8, 16 and 32, as other encoders have.

    The tokens after four evenly spaced blocks, the last included, are reassembled into maps: a
    1 x 1 convolution projects them to an eighth, a quarter, a half and all of the width of the
    transformer, and transposed or strided convolutions bring them to strides 4, 8, 16 and 32.

    Ranftl et al., "Vision Transformers for Dense Prediction", ICCV 2021, section 3.

    The transformer is `vit`; everything else is the reassembly, which has no pretrained weights. An
    image is resized so that the grid of patches has a stride of 8, 16 or 32 in the original image:
    patches of 14 pixels are cut from an image of 14/16 of the size, and are as many as those of 16.
    The transformer sees images with the mean and the standard deviation that it was trained with.

    Deviations: the class token is not merged into the others. Strided convolutions are depthwise,
    which keeps the reassembly small; the projection before has mixed the channels. Tokens pass the
    transformer's last norm, where it has one that is no part of its head, as the features of DINOv2
    do (Oquab et al., TMLR 2024), so that those of early and late blocks have the same scale.

    Args:
        name: of the model in timm, see `has_tokens`.
        pretrained: whether to download weights.
        in_channels: channels of the image; those of pretrained weights are repeated or averaged to
            as many.
        options: keyword arguments of the model, such as `drop_path_rate`.
        deepest: whether only the features at stride 32 are made; those at 4, 8 and 16 then have no
            channels.

    Raises:
        ValueError: if the transformer has less than four blocks.
    """

    vit: Any
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        name: str,
        pretrained: bool = False,
        in_channels: int = 3,
        options: Mapping[str, Any] | None = None,
        deepest: bool = False,
    ) -> None:
        super().__init__()
        self.vit = timm.create_model(
            name,
            pretrained=pretrained,
            in_chans=in_channels,
            dynamic_img_size=True,
            **(options or {}),
        )
        blocks = len(self.vit.blocks)
        check_number("TokenPyramid", "options['depth']", blocks, 4)
        self.indices = [blocks * quarter // 4 - 1 for quarter in (1, 2, 3, 4)]
        self.vit.prune_intermediate_layers(self.indices)
        self.patch_size = int(self.vit.patch_embed.feat_ratio())
        self.token_stride = _token_stride(self.patch_size)
        width = int(self.vit.embed_dim)
        parts = (1,) if deepest else (8, 4, 2, 1)
        strides = STRIDES[-len(parts) :]
        self.indices = self.indices[-len(parts) :]
        widths = [_eighths(width // part) for part in parts]
        self.out_channels = [in_channels, *([0] * (5 - len(widths))), *widths]
        self.output_stride = 32
        self.reassemble = nn.ModuleList(
            _reassembly(width, channels, self.token_stride, stride)
            for channels, stride in zip(widths, strides, strict=True)
        )
        scale, shift = _restandardisation(self.vit.pretrained_cfg, in_channels)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, image: Float[Tensor, "N I H W"]) -> list[Float[Tensor, "N C h w"]]:
        """The image, features without channels, and those at strides 4, 8, 16 and 32 or at 32.

        Args:
            image: standardised as for ImageNet, with sides that are multiples of 32.
        """
        count, _, height, width = image.shape
        grid = torch.Size([side // self.token_stride * self.patch_size for side in (height, width)])
        tokens = self.vit.forward_intermediates(
            resized(image * self.scale + self.shift, grid),
            indices=self.indices,
            norm=True,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        stages = [stage(level) for stage, level in zip(self.reassemble, tokens, strict=True)]
        missing = [
            image.new_zeros(count, 0, height >> level, width >> level)
            for level in range(1, 6 - len(stages))
        ]
        return [image, *missing, *stages]


def has_tokens(name: str) -> bool:
    """Whether an encoder is a plain vision transformer of timm that takes images of any size.

    Args:
        name: `tu-` and the name of a model in timm, such as "tu-vit_small_patch14_dinov2",
            "tu-vit_small_patch16_dinov3" or "tu-eva02_small_patch14_224".
    """
    return name.startswith("tu-") and is_model_in_modules(name[3:], MODULES)


def _token_stride(patch_size: int) -> int:
    """The stride, in the image, of a grid of patches: the one that resizes the image least."""
    return min((8, 16, 32), key=lambda stride: max(stride / patch_size, patch_size / stride))


def _eighths(width: int) -> int:
    """The next multiple of 8, at least 16."""
    return max(16, -(-width // 8) * 8)


def _reassembly(width: int, channels: int, token_stride: int, stride: int) -> nn.Sequential:
    """From tokens to the features of one stage."""
    layers: list[nn.Module] = [nn.Conv2d(width, channels, 1)]
    if stride < token_stride:
        factor = token_stride // stride
        layers.append(nn.ConvTranspose2d(channels, channels, factor, stride=factor))
    halvings = max(stride.bit_length() - token_stride.bit_length(), 0)
    layers += [
        nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels)
        for _ in range(halvings)
    ]
    return nn.Sequential(*layers)


def _restandardisation(config: Mapping[str, Any], channels: int) -> tuple[Tensor, Tensor]:
    """Factor and summand for each channel: from ImageNet's mean and deviation to the model's."""
    mean, std = standardisation(channels)
    own_mean, own_std = standardisation(
        channels, config.get("mean", IMAGENET_MEAN), config.get("std", IMAGENET_STD)
    )
    return std / own_std, (mean - own_mean) / own_std
