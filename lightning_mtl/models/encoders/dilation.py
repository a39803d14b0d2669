"""Which convolutions of a dilated encoder are dilated by how much."""

from typing import Literal, get_args

from segmentation_models_pytorch.encoders.resnet import ResNetEncoder
from torch import nn
from torchvision.models.resnet import Bottleneck

from lightning_mtl.checks import check_choice

__all__ = ["Dilation", "dilate"]

Dilation = Literal["smp", "survey"]


def dilate(encoder: nn.Module, dilation: Dilation, name: str) -> None:
    """Change the dilation of an encoder, which smp has dilated, to another rule.

    smp dilates all convolutions of a stage whose stride it takes away: by 2, and by 4 where the
    stage before has lost its stride as well. In the code of the survey (Vandenhende et al., TPAMI
    2021), as in that of "Dilated Residual Networks" (Yu et al., CVPR 2017), the convolution that
    had the stride itself is dilated by half of that, as its input is not dilated yet.

    Args:
        encoder: changed in place.
        dilation: "smp" or "survey".
        name: of the encoder, for messages.

    Raises:
        ValueError: if the rule is not known, or the encoder is no ResNet and the rule not smp's.
    """
    check_choice("build_encoder", "dilation", dilation, get_args(Dilation))
    if dilation == "smp":
        return
    if not isinstance(encoder, ResNetEncoder):
        raise ValueError(
            '`build_encoder(dilation="survey")` should be given a ResNet of'
            f" segmentation-models-pytorch. Found {name!r}. Take one, such as resnet50, or leave"
            " `dilation` out."
        )
    for stage in (encoder.layer3, encoder.layer4):
        first = stage[0]
        strided = first.conv2 if isinstance(first, Bottleneck) else first.conv1
        if strided.dilation[0] > 1:
            half = strided.dilation[0] // 2
            strided.dilation = strided.padding = (half, half)
