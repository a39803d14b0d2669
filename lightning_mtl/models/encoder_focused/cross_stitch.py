"""Cross-Stitch networks."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.models.decoders.build import Decoder
from lightning_mtl.models.encoder_focused.parallel_networks import (
    ParallelNetworks,
    own_and_other,
)

__all__ = ["CrossStitch", "CrossStitchUnit"]


class CrossStitchUnit(nn.Module):
    """x̃_i = Σ_j a_ij ⊙ x_j, with one coefficient per channel for each pair of tasks.

    Args:
        coefficients: the initial a_ij, the same for all channels.
        width: channels of the features.
    """

    def __init__(self, coefficients: Float[Tensor, "K K"], width: int) -> None:
        super().__init__()
        tasks = len(coefficients)
        repeated = coefficients.unsqueeze(-1).expand(tasks, tasks, width)
        self.coefficients = nn.Parameter(repeated.clone())

    def forward(self, maps: Sequence[Float[Tensor, "N C h w"]]) -> list[Float[Tensor, "N C h w"]]:
        """The mixed features of each task, given those of all.

        Tasks have no intermediate result in common, so that the last unit is no part of what heads
        share.
        """
        return [
            torch.stack([a.view(-1, 1, 1) * x for a, x in zip(row, maps, strict=True)]).sum(0)
            for row in self.coefficients
        ]


class CrossStitch(ParallelNetworks):
    """One network per task; after each stage, learned weights mix the features of all tasks.

    Misra et al., "Cross-stitch Networks for Multi-task Learning", CVPR 2016, equation 1, as in the
    survey of Vandenhende et al., TPAMI 2021: x̃_i = Σ_j a_ij ⊙ x_j with a_ij of one number per
    channel, after each stage of the encoder from stride 4 on, the last one included. Nothing
    constrains a_ij. It is made to start from trained single-task networks (`checkpoints`), and to
    be trained by SGD with a learning rate 100 times as high for a_ij. With an adaptive optimizer,
    whose steps are about as long as its learning rate, prefer `unit_lr_multiplier=1`.

    Deviations: none from the intent of the survey; its released code resets the learning rate of
    a_ij to that of the network, which is `unit_lr_multiplier=1`.

    Args:
        channels: output channels by task.
        encoder: name of an encoder whose stages run one by one: a ResNet, a MobileNet, or a
            convolutional `tu-` encoder of timm.
        encoder_weights: as smp has them; `None` starts from scratch and downloads nothing.
        decoder: as in `SharedEncoder`; the survey has "deeplabv3".
        output_stride: of the encoders, as in `SharedEncoder`; the survey has 8.
        alpha: initial a_ii, at least 0. The survey has .9 for two tasks, .8 for five.
        beta: initial a_ij of different tasks, at least 0; by default what makes a_i sum to one.
        unit_lr_multiplier: what the learning rate is multiplied by for a_ij.
        checkpoints: by task, a checkpoint of `DensePrediction` with a `SharedEncoder` of the task
            alone, from which its network starts.
        in_channels: channels of the image.

    Raises:
        FileNotFoundError: if a checkpoint is missing.
        ValueError: if an argument is out of range, the encoder or the decoder does not fit, or a
            checkpoint is of another network.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        decoder: Decoder = "unet",
        output_stride: int = 32,
        alpha: float = 0.9,
        beta: float | None = None,
        unit_lr_multiplier: float = 100.0,
        checkpoints: dict[str, str] | None = None,
        in_channels: int = 3,
    ) -> None:
        self.start = own_and_other("CrossStitch", len(channels), alpha, beta)
        super().__init__(
            channels,
            encoder,
            encoder_weights,
            decoder,
            output_stride,
            in_channels,
            checkpoints,
            unit_lr_multiplier,
        )

    def build_unit(self, width: int) -> CrossStitchUnit:
        """A unit that starts with `alpha` and `beta`, called once for each stage."""
        return CrossStitchUnit(self.start, width)
