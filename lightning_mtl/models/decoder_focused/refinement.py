"""`RefinementNetwork`, the base of networks that refine initial features of all tasks at once."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.models.blocks import bottleneck
from lightning_mtl.models.decoder_focused.main_tasks import main_tasks
from lightning_mtl.models.decoder_focused.source import (
    Source,
    build_source,
    check_source,
    source_channels,
)
from lightning_mtl.models.deep_supervision import DeeplySupervisedNetwork
from lightning_mtl.models.encoders.build import build_encoder

__all__ = ["RefinementNetwork"]


class RefinementNetwork(DeeplySupervisedNetwork, ABC):
    """A network that predicts each task from features of its own, refines these, predicts again.

    Initial features F_t are two bottlenecks on one map that all tasks share, and a 1 x 1
    convolution predicts from them. `refine` exchanges information between the tasks. Two more
    bottlenecks and a 1 x 1 convolution predict each main task from its refined features.

    Args:
        channels: output channels by task.
        encoder: name of an encoder, as `build_encoder` takes it.
        encoder_weights: as smp has them; `None` starts from scratch and downloads nothing.
        main: names of the tasks with a final prediction. The others are auxiliary: their initial
            prediction is their result. By default all tasks are main.
        source: what the initial features start from: "fpn", a feature pyramid decoder with 128
            channels at stride 4, or "deepest", the last stage of the encoder.
        output_stride: of the encoder; with "deepest", 8 or 16 dilate its last stages.
        width: channels of the features of each task, a multiple of 4.
        in_channels: channels of the image.
        encoder_options: further arguments of the encoder, as `build_encoder` takes them.

    Raises:
        ValueError: if `main` has no task or an unknown one, the source is not known or does not fit
            the output stride, or the width is no multiple of 4.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        encoder: str,
        encoder_weights: str | None,
        main: Sequence[str] | None,
        source: Source,
        output_stride: int,
        width: int,
        in_channels: int,
        encoder_options: dict[str, Any] | None,
    ) -> None:
        chosen = main_tasks(type(self).__name__, channels, main)
        check_source(type(self).__name__, source, output_stride)
        _check_width(type(self).__name__, width)
        # The deepest stage of a dilated encoder still needs whole pixels of every stage before it.
        super().__init__(32, in_channels)
        self.encoder = build_encoder(
            encoder,
            encoder_weights,
            output_stride,
            in_channels,
            encoder_options,
            deepest=source == "deepest",
        )
        self.source = build_source(source, self.encoder)
        start = source_channels(source, self.encoder)
        self.features = nn.ModuleDict({task: _bottlenecks(start, width) for task in channels})
        self.initial = nn.ModuleDict(
            {task: nn.Conv2d(width, out, 1) for task, out in channels.items()}
        )
        self.heads = nn.ModuleDict(
            {
                task: nn.Sequential(_bottlenecks(width, width), nn.Conv2d(width, channels[task], 1))
                for task in chosen
            }
        )

    @abstractmethod
    def refine(
        self, features: dict[str, Float[Tensor, "N C h w"]]
    ) -> tuple[dict[str, Float[Tensor, "N C h w"]], dict[str, Float[Tensor, "N C h w"]]]:
        """The features to predict from at first and at last, given the initial ones of each task.

        The first are the initial ones after `join_features`, which takes all that several tasks
        use; the last are those of the main tasks, refined.
        """

    def predict_all(
        self, image: Float[Tensor, "N I H W"]
    ) -> dict[str, list[Float[Tensor, "N C h w"]]]:
        """The initial prediction of each task and, of a main task, the final one."""
        source = self.source(self.encoder(image))
        features, refined = self.refine({task: of(source) for task, of in self.features.items()})
        predictions = {task: [head(features[task])] for task, head in self.initial.items()}
        for task, head in self.heads.items():
            predictions[task].append(head(refined[task]))
        return predictions


def _bottlenecks(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(bottleneck(channels, width), bottleneck(width, width))


def _check_width(owner: str, width: int) -> None:
    if width < 4 or width % 4:
        raise ValueError(
            f"`{owner}(width=)` should be a multiple of 4, which bottlenecks divide it by. Found"
            f" {width}."
        )
