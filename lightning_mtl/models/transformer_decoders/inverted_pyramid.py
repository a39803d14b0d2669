"""`InvertedPyramidTransformer`, attention among all tasks at growing resolution."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.checks import check_number
from lightning_mtl.engine.graph import join_features
from lightning_mtl.models.blocks import conv_norm_relu
from lightning_mtl.models.deep_supervision import DeeplySupervisedNetwork
from lightning_mtl.models.dense_network import resized
from lightning_mtl.models.encoders.build import build_encoder
from lightning_mtl.models.transformer_decoders.inverted_pyramid_stage import InvertedPyramidStage

__all__ = ["InvertedPyramidTransformer"]

STAGES = 4


class InvertedPyramidTransformer(DeeplySupervisedNetwork):
    """The tokens of all tasks attend to each other in stages, at strides 32, 16, 8 and 4.

    A preliminary decoder per task (two 3 x 3 convolutions with batch norm and ReLU) makes task
    features at stride 32, from which a preliminary prediction is made and trained. The task
    features of all tasks are the tokens of one sequence. Each further stage doubles their size,
    halves their channels, adds the features of the encoder at that stride, and mixes its attention
    scores with those of the stage before, enlarged:

        A'_s = α₁ Q_s K_sᵀ / √d + α₂ up(A'_{s-1}),    F_s ← F_s + up(softmax(A'_s) V_s).

    Queries are reduced by a strided convolution, keys and values by pooling that doubles with the
    size, so that every stage has the same number of keys. The maps of all stages, resized to the
    last, are merged by a 3 x 3 convolution per task, and a 1 x 1 convolution predicts.

    Ye & Xu, "Inverted Pyramid Multi-Task Transformer for Dense Scene Understanding", ECCV 2022,
    section 3.

    Deviations: there are four stages, one for each of the encoder's strides, where the paper has
    three, after a plain transformer at stride 16. Preliminary predictions are not joined to the
    task features, because they are a linear map of these, and the layer that joined them would be
    linear as well. α₁ and α₂ are 1/2 at the start.

    Args:
        channels: output channels by task.
        encoder: as `build_encoder` takes it.
        encoder_weights: as smp has them; `None` starts from scratch.
        width: channels of the first stage, a multiple of 8 `heads`; each of the next has half as
            many as the one before.
        heads: of the attention, at least 1.
        in_channels: channels of the image.

    Raises:
        ValueError: if the encoder is not known or a number is out of its range.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        width: int = 256,
        heads: int = 2,
        in_channels: int = 3,
    ) -> None:
        check_number("InvertedPyramidTransformer", "heads", heads, 1)
        _check_width(width, heads)
        super().__init__(32, in_channels)
        self.encoder = build_encoder(encoder, encoder_weights, in_channels=in_channels)
        self.preliminary = nn.ModuleDict(
            {
                task: nn.Sequential(
                    conv_norm_relu(self.encoder.out_channels[-1], width, 3),
                    conv_norm_relu(width, width, 3),
                )
                for task in channels
            }
        )
        self.preliminary_heads = nn.ModuleDict(
            {task: nn.Conv2d(width, out, 1) for task, out in channels.items()}
        )
        widths = [width >> stage for stage in range(STAGES)]
        first = InvertedPyramidStage(width, width, 0, heads, 2)
        self.stages = nn.ModuleList([first])
        for stage, (wide, narrow) in enumerate(pairwise(widths), 1):
            skip = self.encoder.out_channels[-1 - stage]
            self.stages.append(InvertedPyramidStage(wide, narrow, skip, heads, 2 << stage))
        self.heads = nn.ModuleDict(
            {
                task: nn.Sequential(
                    conv_norm_relu(sum(widths), widths[2], 3), nn.Conv2d(widths[2], out, 1)
                )
                for task, out in channels.items()
            }
        )

    def predict_all(
        self, image: Float[Tensor, "N I H W"]
    ) -> dict[str, list[Float[Tensor, "N C h w"]]]:
        """The preliminary prediction of each task and the one after the transformer."""
        features = self.encoder(image)
        initial = [decode(features[-1]) for decode in self.preliminary.values()]
        maps, message = torch.stack(initial, 1), None
        merged = []
        for depth, stage in enumerate(self.stages, 1):
            maps, message = stage(maps, features[-depth], message)
            merged.append(maps.flatten(0, 1))
        size = merged[-1].shape[-2:]
        final = torch.cat([resized(each, size) for each in merged], 1)
        of_tasks = final.unflatten(0, (-1, len(initial))).unbind(1)
        joined = join_features([*initial, *of_tasks])
        return {
            task: [self.preliminary_heads[task](first), self.heads[task](last)]
            for task, first, last in zip(
                self.heads, joined[: len(initial)], joined[len(initial) :], strict=True
            )
        }


def _check_width(width: int, heads: int) -> None:
    if width < 1 or width % (8 * heads):
        raise ValueError(
            f"`InvertedPyramidTransformer(width=)` should be a multiple of {8 * heads}, so that the"
            f" last stage, an eighth as wide, divides into {heads} heads. Found {width}."
        )
