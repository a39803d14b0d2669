"""Hard parameter sharing: one encoder, one decoder and head per task."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.engine.graph import join_features
from lightning_mtl.models.decoders.build import (
    Decoder,
    build_decoder,
    check_decoder,
    decoder_channels,
    head_kernel,
)
from lightning_mtl.models.dense_network import DenseNetwork
from lightning_mtl.models.encoders.build import build_encoder
from lightning_mtl.models.encoders.dilation import Dilation


class SharedEncoder(DenseNetwork):
    """The multi-task baseline of the literature: all tasks share the encoder and nothing else.

    Vandenhende et al., "Multi-Task Learning for Dense Prediction Tasks: A Survey", TPAMI 2021,
    section 2.2: with `encoder="resnet50"`, `decoder="deeplabv3"`, `output_stride=8` and
    `dilation="survey"` the network of its code.

    Args:
        channels: output channels by task.
        encoder: name of an encoder of segmentation-models-pytorch, as `build_encoder` takes it.
        encoder_weights: as smp has them; `None` starts from scratch and downloads nothing.
        decoder: "unet" (skip connections, full resolution), "fpn" (quarter resolution),
            "deeplabv3" (the deepest features only) or "linear" (all stages, resized to a quarter of
            the resolution). A convolution per task follows: 3 x 3 after "unet" and "fpn", else
            1 x 1.
        output_stride: of the encoder; 8 or 16 dilate its last stages. "unet" and "fpn" need 32.
        in_channels: channels of the image.
        encoder_options: further arguments of the encoder, as `build_encoder` takes them.
        dilation: of a ResNet with `output_stride` 8 or 16, "smp" or "survey", see `build_encoder`.
        decoder_options: arguments of the decoder's class in segmentation-models-pytorch, such as
            `{pyramid_channels: 64, segmentation_channels: 64}` for a narrow "fpn".

    Raises:
        ValueError: if the encoder or the decoder is not known, they do not fit, or the decoder has
            no such option.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        decoder: Decoder = "unet",
        output_stride: int = 32,
        in_channels: int = 3,
        encoder_options: dict[str, Any] | None = None,
        dilation: Dilation = "smp",
        decoder_options: dict[str, Any] | None = None,
    ) -> None:
        check_decoder(decoder, output_stride)
        # The deepest stage of a dilated encoder still needs whole pixels of every stage before it.
        super().__init__(32, in_channels)
        self.encoder = build_encoder(
            encoder,
            encoder_weights,
            output_stride,
            in_channels,
            encoder_options,
            deepest=decoder == "deeplabv3",
            dilation=dilation,
        )
        self.decoders = nn.ModuleDict(
            {task: build_decoder(decoder, self.encoder, decoder_options) for task in channels}
        )
        width = decoder_channels(decoder, self.encoder, decoder_options)
        kernel = head_kernel(decoder)
        self.heads = nn.ModuleDict(
            {
                task: nn.Conv2d(width, out, kernel, padding=kernel // 2)
                for task, out in channels.items()
            }
        )

    def predict(self, image: Float[Tensor, "N I H W"]) -> dict[str, Float[Tensor, "N C h w"]]:
        """One pass of the encoder, then every decoder on the same features."""
        features = join_features(self.encoder(image))
        return {task: self.decode(task, features) for task in self.decoders}

    def decode(
        self, task: str, features: list[Float[Tensor, "N F h w"]]
    ) -> Float[Tensor, "N C h w"]:
        """The prediction of one task from the image and the features of all stages."""
        return self.heads[task](self.decoders[task](features))
