"""JTRL: two tasks predicted in turn, at four resolutions, each from the other's latest state."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.checks import check_number
from lightning_mtl.engine.graph import join_features
from lightning_mtl.models.blocks import conv_norm_relu
from lightning_mtl.models.decoder_focused.by_task import ByTask
from lightning_mtl.models.decoder_focused.task_attention import TaskAttention
from lightning_mtl.models.deep_supervision import DeeplySupervisedNetwork
from lightning_mtl.models.encoders.build import build_encoder

__all__ = ["JTRL"]


class JTRL(DeeplySupervisedNetwork):
    """Joint task-recursive learning: two tasks take turns at strides 32, 16, 8 and 4.

    Each turn, a task-attentional module fuses the previous state of the task, the latest state of
    the other task and the features of the encoder at that stride:

    B = σ(conv([f_a, f_b])),  f = [B ⊙ f_a, (1 − B) ⊙ f_b], then residual attention

    A 3 x 3 convolution predicts the task from its new state. The first task of `channels` goes
    first; both start from the deepest features. All eight predictions are trained.

    Zhang et al., "Joint Task-Recursive Learning for Semantic Segmentation and Depth Estimation",
    ECCV 2018, section 3.

    Deviations: written from its description, with widths and convolutions of our own. The
    predictions of a task have equal weights; the paper learns a weight for each loss, and here
    weighting the tasks is a callback's business.

    Args:
        channels: output channels by task; exactly two tasks.
        encoder: name of an encoder, as `build_encoder` takes it.
        encoder_weights: as smp has them; `None` starts from scratch and downloads nothing.
        width: channels of the states, at least 1.
        in_channels: channels of the image.
        encoder_options: further arguments of the encoder, as `build_encoder` takes them.

    Raises:
        ValueError: if there are not two tasks, or the width is less than 1.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        width: int = 128,
        in_channels: int = 3,
        encoder_options: dict[str, Any] | None = None,
    ) -> None:
        if len(channels) != 2:
            raise ValueError(
                "`JTRL(channels=)` should have exactly two tasks, which take turns. Found"
                f" {', '.join(channels) or 'none'}. Choose two of them, or take `PADNet` or"
                " `MTINet`, which have no such limit."
            )
        check_number("JTRL", "width", width, 1)
        super().__init__(32, in_channels)
        self.encoder = build_encoder(
            encoder, encoder_weights, in_channels=in_channels, options=encoder_options
        )
        # By scale, the coarsest first, in the order of the turns: two per scale.
        self.laterals = nn.ModuleList(
            conv_norm_relu(stage, width) for stage in reversed(self.encoder.out_channels[2:])
        )
        self.turns = nn.ModuleList(TaskAttention(width) for _ in self.laterals for _ in channels)
        self.heads = nn.ModuleList(
            ByTask({task: nn.Conv2d(width, out, 3, padding=1) for task, out in channels.items()})
            for _ in self.laterals
        )
        self.tasks = list(channels)

    def predict_all(
        self, image: Float[Tensor, "N I H W"]
    ) -> dict[str, list[Float[Tensor, "N C h w"]]]:
        """The predictions of both tasks at strides 32, 16, 8 and 4."""
        scales = [
            heads(states) for heads, states in zip(self.heads, self.states(image), strict=True)
        ]
        return {task: [scale[task] for scale in scales] for task in self.tasks}

    def states(self, image: Float[Tensor, "N I H W"]) -> list[dict[str, Float[Tensor, "N C h w"]]]:
        """The states of both tasks at each scale, the coarsest first."""
        stages = reversed(self.encoder(image)[2:])
        skips = [lateral(stage) for lateral, stage in zip(self.laterals, stages, strict=True)]
        # The task on turn was last on turn two turns ago, the other one a turn ago.
        states = [skips[0], skips[0]]
        for turn, unit in enumerate(self.turns[:-1]):
            states.append(unit(states[-2], states[-1], skips[turn // 2]))
        # Only the second task uses the last state; all that comes before belongs to both.
        *states, skip = join_features([*states[2:], skips[-1]])
        states.append(self.turns[-1](states[-2], states[-1], skip))
        pairs = zip(states[::2], states[1::2], strict=True)
        return [dict(zip(self.tasks, pair, strict=True)) for pair in pairs]
