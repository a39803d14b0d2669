"""PAD-Net: initial predictions of all tasks, distilled into one another by spatial attention."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.checks import check_choice
from lightning_mtl.engine.graph import join_features
from lightning_mtl.models.decoder_focused.distillation import Distillation, Gate
from lightning_mtl.models.decoder_focused.refinement import RefinementNetwork
from lightning_mtl.models.decoder_focused.source import Source

__all__ = ["PADNet"]


class PADNet(RefinementNetwork):
    """PAD-Net: the features of initial predictions are distilled into those of the other tasks.

    From one map that all tasks share, two bottlenecks per task make features F_t, and a 1 x 1
    convolution the initial prediction. A main task takes from every other task a, main or
    auxiliary, what spatial attention lets through:

    F'_t = F_t + Σ_{a ≠ t} σ(G ∗ F) ⊙ (W_ta ∗ F_a)

    where the gate G ∗ F is G_ta ∗ F_a with `gate="source"` and G_t ∗ F_t with "target". Two more
    bottlenecks and a 1 x 1 convolution make the final prediction from F'_t. Initial and final
    predictions are trained alike.

    Xu et al., "PAD-Net: Multi-Tasks Guided Prediction-and-Distillation Network for Simultaneous
    Depth Estimation and Scene Parsing", CVPR 2018, distillation module C; as in Vandenhende et al.,
    "Multi-Task Learning for Dense Prediction Tasks: A Survey", TPAMI 2021, section 2.3.

    Deviations: the paper computes the gate from the target task, the survey's released code from
    the source task, which is the default. The features are those that the initial prediction is
    made from, as in that code, rather than a convolution of the prediction itself. The map comes
    from a feature pyramid on any encoder, where that code fuses the branches of HRNet.

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
        gate: "source" or "target", the task whose features the attention is computed from.
        in_channels: channels of the image.
        encoder_options: further arguments of the encoder, as `build_encoder` takes them.

    Raises:
        ValueError: if `main` has no task or an unknown one, source or gate are not known, the
            source does not fit the output stride, or the width is no multiple of 4.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        main: Sequence[str] | None = None,
        source: Source = "fpn",
        output_stride: int = 32,
        width: int = 256,
        gate: Gate = "source",
        in_channels: int = 3,
        encoder_options: dict[str, Any] | None = None,
    ) -> None:
        check_choice("PADNet", "gate", gate, get_args(Gate))
        super().__init__(
            channels,
            encoder,
            encoder_weights,
            main,
            source,
            output_stride,
            width,
            in_channels,
            encoder_options,
        )
        self.distillation = Distillation(list(channels), list(self.heads), width, gate)

    def refine(
        self, features: dict[str, Float[Tensor, "N C h w"]]
    ) -> tuple[dict[str, Float[Tensor, "N C h w"]], dict[str, Float[Tensor, "N C h w"]]]:
        """The initial features, and those of the main tasks after distillation."""
        features = dict(zip(features, join_features(list(features.values())), strict=True))
        return features, self.distillation(features)
