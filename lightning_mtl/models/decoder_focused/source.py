"""The map of features that the initial predictions of all tasks start from."""

from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.checks import check_choice
from lightning_mtl.models.decoders.build import build_decoder, decoder_channels
from lightning_mtl.models.encoders.build import Encoder, check_stride

Source = Literal["fpn", "deepest"]


class DeepestStage(nn.Module):
    """The features of an encoder's last stage."""

    def forward(self, features: list[Float[Tensor, "N C h w"]]) -> Float[Tensor, "N C h w"]:
        """The last of the features, called with the image and all stages."""
        return features[-1]


def check_source(owner: str, source: Source, output_stride: int) -> None:
    """Raise unless there is such a source, and it can use an encoder of the output stride.

    Raises:
        ValueError: otherwise; "fpn" doubles the size from each stage to the next.
    """
    check_choice(owner, "source", source, get_args(Source))
    check_stride(output_stride)
    if source == "fpn" and output_stride != 32:
        raise ValueError(
            f'`{owner}(output_stride=)` should be 32 with `source="fpn"`. Found {output_stride}.'
            ' Set 32, or `source="deepest"`.'
        )


def build_source(source: Source, encoder: Encoder) -> nn.Module:
    """What makes the map of the features; it has `source_channels` and `source_stride`."""
    return build_decoder("fpn", encoder) if source == "fpn" else DeepestStage()


def source_channels(source: Source, encoder: Encoder) -> int:
    """The number of channels of the map."""
    return decoder_channels("fpn", encoder) if source == "fpn" else encoder.out_channels[-1]


def source_stride(source: Source, output_stride: int) -> int:
    """The side of the map's pixels, in pixels of the image."""
    return 4 if source == "fpn" else output_stride
