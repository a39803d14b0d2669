"""Cross-Stitch networks."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.models.encoder_focused.parallel_networks import ParallelNetworks

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

    The arguments are those of `ParallelNetworks`.
    """

    def build_unit(self, start: Float[Tensor, "K K"], width: int) -> CrossStitchUnit:
        """A unit for one stage, which starts with `alpha` and `beta`."""
        return CrossStitchUnit(start, width)
