"""The stages of an encoder, for networks that do something between or within them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jaxtyping import Float
from segmentation_models_pytorch.encoders.mobilenet import MobileNetV2Encoder
from segmentation_models_pytorch.encoders.resnet import ResNetEncoder
from segmentation_models_pytorch.encoders.timm_universal import TimmUniversalEncoder
from timm.models import FeatureListNet
from timm.models.efficientnet import EfficientNetFeatures
from timm.models.mobilenetv3 import MobileNetV3Features
from torch import Tensor, nn

__all__ = ["Stage", "all_features", "encoder_stages", "run"]


class Stage(NamedTuple):
    """A part of an encoder that ends with one of its features.

    Attributes:
        level: the index of that feature; its stride is 2 to this power, if nothing is dilated.
        blocks: the modules that run one after the other.
    """

    level: int
    blocks: Sequence[nn.Module]


def encoder_stages(encoder: nn.Module) -> list[Stage]:
    """The stages of an encoder that `build_encoder` has built, from the image on.

    An encoder without a feature of stride 2 begins with level 2.

    Args:
        encoder: as `build_encoder` returns it.

    Raises:
        ValueError: if its stages cannot be run one by one.
    """
    if isinstance(encoder, ResNetEncoder):
        stem = (encoder.conv1, encoder.bn1, encoder.relu)
        layers: list[Iterable[nn.Module]] = [
            *(stem, (encoder.maxpool, *_children(encoder.layer1))),
            *map(_children, (encoder.layer2, encoder.layer3, encoder.layer4)),
        ]
        return _numbered(layers, first=1)
    if isinstance(encoder, MobileNetV2Encoder):
        return _numbered(_split(encoder.features, encoder._out_indexes), first=1)
    model = encoder.model if isinstance(encoder, TimmUniversalEncoder) else None
    channel_last = bool(getattr(encoder, "_is_channel_last", False))
    if isinstance(model, FeatureListNet) and not channel_last:
        names = list(model)
        ends = [names.index(name) for name in model.return_layers]
        first = 2 if encoder._is_transformer_style else 1
        return _numbered(_split(model.values(), ends), first)
    if isinstance(model, (EfficientNetFeatures, MobileNetV3Features)):
        modules = [module for name, module in model.named_children() if name != "blocks"]
        # The stem is one module, the number 0 of timm's counting.
        modules = [nn.Sequential(*modules), *model.blocks]
        return _numbered(_split(modules, model._stage_out_idx), first=1)
    raise ValueError(
        "An encoder whose stages run one by one should be a ResNet, a MobileNet, or a"
        " convolutional `tu-` encoder of timm with a plain sequence of stages, such as"
        f" tu-regnety_002. Found `{_kind(encoder)}`. Take one of these, or a network that needs"
        " the features of an encoder only, such as `SharedEncoder`."
    )


def run(blocks: Iterable[nn.Module], x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D h w"]:
    """The output of blocks that run one after the other."""
    for block in blocks:
        x = block(x)
    return x


def all_features(
    image: Float[Tensor, "N I H W"], maps: Sequence[Float[Tensor, "N C h w"]]
) -> list[Float[Tensor, "N C h w"]]:
    """What the encoder would have returned, given the outputs of its stages.

    Args:
        image: the input of the first stage.
        maps: the output of each stage.
    """
    if len(maps) == 5:
        return [image, *maps]
    height, width = image.shape[-2:]
    return [image, image.new_empty(len(image), 0, height // 2, width // 2), *maps]


def _numbered(parts: Iterable[Iterable[nn.Module]], first: int) -> list[Stage]:
    return [Stage(level, list(blocks)) for level, blocks in enumerate(parts, first)]


def _split(modules: Iterable[nn.Module], ends: Iterable[int]) -> list[list[nn.Module]]:
    """The blocks up to each of the indices, the modules there included."""
    modules, begin = list(modules), 0
    parts = []
    for end in sorted(ends):
        parts.append([block for module in modules[begin : end + 1] for block in _children(module)])
        begin = end + 1
    return parts


def _children(module: nn.Module) -> list[nn.Module]:
    """What a plain sequence consists of; other modules stay whole."""
    return list(module) if type(module) is nn.Sequential else [module]


def _kind(encoder: nn.Module) -> str:
    model = getattr(encoder, "model", encoder)
    return type(model if isinstance(model, nn.Module) else encoder).__name__
