"""`LowRankExperts`, a mixture of convolutions of low rank that each task chooses from."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.checks import check_choice, check_number
from lightning_mtl.engine.graph import join_features
from lightning_mtl.models.blocks import conv_norm_relu
from lightning_mtl.models.deep_supervision import DeeplySupervisedNetwork
from lightning_mtl.models.dense_network import resized
from lightning_mtl.models.encoders.build import build_encoder
from lightning_mtl.models.experts.low_rank_expert_block import LowRankExpertBlock

__all__ = ["LowRankExperts"]

STRIDES = (4, 8, 16, 32)


class LowRankExperts(DeeplySupervisedNetwork):
    """Tasks share a generic convolution and experts of low rank, and each chooses among these.

    The features of the encoder at strides 4 to 32 are projected to one width, resized to stride
    `map_stride`, and added up. A 3 x 3 convolution per task, with batch norm and ReLU, makes its
    features x_t, from which an initial prediction is made and trained. Blocks follow, each of which
    is

        x_t ← ReLU(BN_t(W * x_t + Σ_e g_te(x_t) U_e * V_e * x_t + U_t * V_t * x_t)),

    where all tasks share the generic convolution W (3 x 3) and the experts, V_e (3 x 3, to r_e
    channels) and U_e (1 x 1, back); U_t and V_t, and the router g_t, are the task's own. The router
    averages the features of an image and takes the softmax over the scores of the best `chosen`
    experts; the others weigh nothing. Nothing between V and U bends the map, so that for a given
    choice all convolutions of a block can be merged into one of 3 x 3. Ranks grow from expert to
    expert: `rank`, 2 `rank`, 3 `rank`, ... A 1 x 1 convolution predicts.

    Yang et al., "Multi-Task Dense Prediction via Mixture of Low-Rank Experts", CVPR 2024,
    section 3.

    Deviations: the features are those of any encoder with stages, at a stride that bounds memory,
    where the paper takes layers of a plain transformer. All experts are computed, because exporting
    and compiling a network leave no choice of what to compute, and because replicas wait for the
    gradient of every parameter. There is no loss that balances the use of experts.

    Args:
        channels: output channels by task.
        encoder: as `build_encoder` takes it.
        encoder_weights: as smp has them; `None` starts from scratch.
        width: channels of the maps, at least 1.
        blocks: how many, at least 1.
        experts: in each block, at least 1.
        chosen: experts for each image and task, from 1 to `experts`.
        rank: of the first expert, at least 1.
        task_rank: of the convolution of each task, at least 1.
        map_stride: of the maps: 4, 8, 16 or 32.
        in_channels: channels of the image.

    Raises:
        ValueError: if the encoder is not known or a number is out of its range.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        width: int = 128,
        blocks: int = 2,
        experts: int = 15,
        chosen: int = 9,
        rank: int = 4,
        task_rank: int = 16,
        map_stride: int = 8,
        in_channels: int = 3,
    ) -> None:
        name = "LowRankExperts"
        sizes = {"width": width, "blocks": blocks, "experts": experts, "rank": rank}
        for argument, value in {**sizes, "task_rank": task_rank}.items():
            check_number(name, argument, value, 1)
        check_number(name, "chosen", chosen, 1, experts, "There are as many `experts`.")
        check_choice(name, "map_stride", map_stride, STRIDES)
        super().__init__(32, in_channels)
        self.encoder = build_encoder(encoder, encoder_weights, in_channels=in_channels)
        self.map_stage = STRIDES.index(map_stride)
        self.projections = nn.ModuleList(
            nn.Conv2d(stage, width, 1) for stage in self.encoder.out_channels[2:]
        )
        self.initial = nn.ModuleDict({task: conv_norm_relu(width, width, 3) for task in channels})
        ranks = [rank * (expert + 1) for expert in range(experts)]
        self.blocks = nn.ModuleList(
            LowRankExpertBlock(width, list(channels), ranks, chosen, task_rank)
            for _ in range(blocks)
        )
        self.initial_heads = _heads(width, channels)
        self.heads = _heads(width, channels)

    def predict_all(
        self, image: Float[Tensor, "N I H W"]
    ) -> dict[str, list[Float[Tensor, "N C h w"]]]:
        """The initial prediction of each task and the one after the blocks."""
        (joined,) = join_features([self._projected(self.encoder(image)[2:])])
        return {task: self._predict(task, joined) for task in self.heads}

    def _projected(self, stages: list[Float[Tensor, "N F h w"]]) -> Float[Tensor, "N C h w"]:
        """The sum of all stages, at one width and size."""
        size = stages[self.map_stage].shape[-2:]
        narrow = [project(stage) for project, stage in zip(self.projections, stages, strict=True)]
        return torch.stack([resized(stage, size) for stage in narrow]).sum(0)

    def _predict(
        self, task: str, joined: Float[Tensor, "N C h w"]
    ) -> list[Float[Tensor, "N K h w"]]:
        """The predictions of one task from what all share."""
        features = initial = self.initial[task](joined)
        for block in self.blocks:
            features = block(task, features)
        return [self.initial_heads[task](initial), self.heads[task](features)]


def _heads(width: int, channels: Mapping[str, int]) -> nn.ModuleDict:
    return nn.ModuleDict({task: nn.Conv2d(width, out, 1) for task, out in channels.items()})
