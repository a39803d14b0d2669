"""`InvertedPyramidStage`, one resolution of a transformer on the tokens of all tasks."""

import torch
from jaxtyping import Float
from timm.layers.mlp import Mlp
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_mtl.models.blocks import conv_norm_relu
from lightning_mtl.models.dense_network import resized

__all__ = ["InvertedPyramidStage"]


class InvertedPyramidStage(nn.Module):
    """A transformer block in which the tokens of all tasks attend to each other.

    Maps of tasks are (N, T, C, h, w). Queries come from a strided convolution, keys and values from
    pooled maps, so that there are T h w / 4 queries and T h w / `key_stride`² keys.

    Args:
        in_channels: of the stage before.
        channels: of this stage, a multiple of the heads.
        skip_channels: of the encoder's features that are added; 0 for none, in the first stage,
            which does not enlarge its input either.
        heads: of the attention.
        key_stride: pooling of keys and values.
    """

    def __init__(
        self, in_channels: int, channels: int, skip_channels: int, heads: int, key_stride: int
    ) -> None:
        super().__init__()
        self.heads, self.key_stride = heads, key_stride
        first = skip_channels == 0
        self.enlarge = None if first else conv_norm_relu(in_channels, channels, 3)
        self.skip = None if first else nn.Conv2d(skip_channels, channels, 1)
        self.mix = None if first else nn.Parameter(torch.full((2,), 0.5))
        self.attention_norm = LayerNorm2d(channels)
        self.reduce = nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)
        self.mlp_norm = LayerNorm2d(channels)
        self.mlp = Mlp(channels, 4 * channels, use_conv=True)

    def forward(
        self,
        maps: Float[Tensor, "N T D g v"],
        feature: Float[Tensor, "N F h w"],
        message: Float[Tensor, "N M r s"] | None,
    ) -> tuple[Float[Tensor, "N T C h w"], Float[Tensor, "N L p q"]]:
        """The maps of the tasks and the attention scores, which are the next stage's message.

        Args:
            maps: of the stage before.
            feature: of the encoder, at the size of this stage.
            message: scores of the stage before, one channel for each head, task of the query and
                key; `None` in the first stage.
        """
        count, tasks = maps.shape[:2]
        flat = self._enlarged(maps.flatten(0, 1), feature, tasks)
        attended, scores = self._attend(self.attention_norm(flat), tasks, message)
        flat = flat + resized(attended, flat.shape[-2:])
        flat = flat + self.mlp(self.mlp_norm(flat))
        return flat.unflatten(0, (count, tasks)), scores

    def _enlarged(self, flat: Tensor, feature: Tensor, tasks: int) -> Tensor:
        """The maps at the size of the encoder's feature, which is added to those of every task."""
        if self.enlarge is None or self.skip is None:
            return flat
        skip = self.skip(feature).repeat_interleave(tasks, 0)
        return self.enlarge(resized(flat, feature.shape[-2:])) + skip

    def _attend(
        self, flat: Float[Tensor, "NT C h w"], tasks: int, message: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What every token of the reduced maps takes from the pooled ones, and the scores."""
        reduced = self.query(self.reduce(flat))
        # Rounded up, as the convolution does, so that all stages have equally many keys.
        pooled = F.avg_pool2d(flat, self.key_stride, ceil_mode=True)
        query = self._split(reduced, tasks)
        key, value = self._split(self.key(pooled), tasks), self._split(self.value(pooled), tasks)
        scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        maps = self._as_maps(scores, tasks, reduced.shape[-2:])
        if message is not None and self.mix is not None:
            own, before = self.mix
            maps = own * maps + before * resized(message, maps.shape[-2:])
            scores = maps.unflatten(1, (self.heads, tasks, -1)).permute(0, 1, 2, 4, 5, 3)
            scores = scores.flatten(2, 4)
        joined = scores.softmax(-1) @ value
        tokens = joined.unflatten(2, (tasks, -1)).permute(0, 2, 1, 4, 3)
        return self.project(tokens.reshape(reduced.shape)), maps

    def _split(self, flat: Float[Tensor, "NT C h w"], tasks: int) -> Float[Tensor, "N A Thw c"]:
        """One sequence of the tokens of all tasks for each head."""
        split = flat.unflatten(1, (self.heads, -1)).flatten(-2).unflatten(0, (-1, tasks))
        return split.permute(0, 2, 1, 4, 3).flatten(2, 3)

    def _as_maps(
        self, scores: Float[Tensor, "N A Q K"], tasks: int, size: torch.Size
    ) -> Float[Tensor, "N ATK h w"]:
        """Scores as maps over the queries of a task, which can be resized."""
        maps = scores.unflatten(2, (tasks, *size)).permute(0, 1, 2, 5, 3, 4)
        return maps.flatten(1, 3)
