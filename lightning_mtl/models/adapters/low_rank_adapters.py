"""`LowRankAdapters`, a frozen vision transformer with low-rank updates, shared and of each task."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.checks import check_number
from lightning_mtl.engine.graph import join_features
from lightning_mtl.models.adapters.low_rank_linear import ActiveTask, insert_updates
from lightning_mtl.models.decoders.build import Decoder
from lightning_mtl.models.dense_network import DenseNetwork
from lightning_mtl.models.encoders.token_pyramid import TokenPyramid, has_tokens
from lightning_mtl.models.shared_encoder import SharedEncoder

__all__ = ["LowRankAdapters"]

# As timm names the linear layers of blocks: fused or single queries, keys and values; the
# projection after them; the layers of a plain or a gated MLP.
LAYERS = ("qkv", "q_proj", "k_proj", "v_proj", "proj", "fc1", "fc1_g", "fc1_x", "fc2")


class LowRankAdapters(DenseNetwork):
    """A frozen foundation encoder, adapted by low-rank updates to all tasks and to each.

    Every linear layer of the transformer's blocks becomes

        W x + b + s B A x + s B_t A_t x,

    where W and b are frozen, all tasks share A and B, and A_t and B_t belong to task t. B and B_t
    start at zero, so that training starts from the pretrained transformer. The reassembly of its
    tokens into stages is trained and shared; each task has a decoder and a head.

    Agiza, Neseem & Reda, "MTLoRA: A Low-Rank Adaptation Approach for Efficient Multi-Task
    Learning", CVPR 2024, section 3.

    With `task_rank=0` one pass of the encoder serves all tasks. Otherwise there is one pass per
    task. Gradient checkpointing inside the transformer is then an error, because it would compute
    the layers again when no task is active.

    Deviations: the paper has a hierarchical transformer, updates of tasks in the last block of a
    stage only, and decoders on features that mix both; here each task has updates in all blocks of
    a plain transformer, and a pass of its own. All parameters of the transformer stay frozen; norms
    of layers need no other mode for that, as they keep no statistics.

    Args:
        channels: output channels by task.
        encoder: a plain vision transformer, as `build_encoder` takes it: `tu-` and a name of timm.
        encoder_weights: any word for those that are part of the name; `None` starts from scratch,
            and freezes random numbers.
        decoder: as for `SharedEncoder`.
        rank: of the updates that all tasks share, at least 0.
        task_rank: of those of each task, at least 0.
        scale: s, above 0.
        layers: names of the linear layers in a block that are updated.
        in_channels: channels of the image.

    Raises:
        ValueError: if the encoder is no plain vision transformer, if both ranks are 0, if a number
            is out of its range, or if there are no such layers.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        encoder: str = "tu-vit_small_patch14_dinov2",
        encoder_weights: str | None = None,
        decoder: Decoder = "linear",
        rank: int = 8,
        task_rank: int = 4,
        scale: float = 1.0,
        layers: Sequence[str] = LAYERS,
        in_channels: int = 3,
    ) -> None:
        _check(encoder, rank, task_rank, scale)
        super().__init__(32, in_channels)
        self.baseline = SharedEncoder(
            channels, encoder, encoder_weights, decoder, in_channels=in_channels
        )
        self.tasks = list(channels)
        self.active = ActiveTask()
        self.one_pass = task_rank == 0
        vit = self.encoder.vit.requires_grad_(False)
        found = insert_updates(vit.blocks, layers, self.tasks, rank, task_rank, scale, self.active)
        if not found:
            raise ValueError(
                "`LowRankAdapters(layers=)` should name linear layers in the blocks of the encoder."
                f" Found {tuple(layers)}, of which {encoder!r} has none. Leave it at its default."
            )

    @property
    def encoder(self) -> TokenPyramid:
        """The frozen transformer with its updates, and the reassembly of its tokens."""
        return self.baseline.encoder

    def may_compile(self, name: str) -> bool:
        """Nothing within the encoder, which has adapters of the tasks between single layers."""
        return not name.startswith("baseline.encoder.")

    def predict(self, image: Float[Tensor, "N I H W"]) -> dict[str, Float[Tensor, "N C h w"]]:
        """One pass of the encoder for all tasks, or one for each that has updates of its own."""
        if self.one_pass:
            features = join_features(self.encoder(image))
            return {task: self.baseline.decode(task, features) for task in self.tasks}
        return {task: self.baseline.decode(task, self.features(task, image)) for task in self.tasks}

    def features(
        self, task: str, image: Float[Tensor, "N I H W"]
    ) -> list[Float[Tensor, "N F h w"]]:
        """The image and the stages of one task, which its updates take part in."""
        with self.active.of(task):
            return self.encoder(image)


def _check(encoder: str, rank: int, task_rank: int, scale: float) -> None:
    if not has_tokens(encoder):
        raise ValueError(
            "`LowRankAdapters(encoder=)` should be a plain vision transformer of timm: `tu-` and a"
            " name such as vit_small_patch14_dinov2, vit_small_patch16_dinov3 or"
            f" eva02_small_patch14_224. Found {encoder!r}."
        )
    check_number("LowRankAdapters", "rank", rank, 0)
    check_number("LowRankAdapters", "task_rank", task_rank, 0)
    if rank == task_rank == 0:
        raise ValueError(
            "`LowRankAdapters(rank=)` should be at least 1 where `task_rank` is 0. Found 0. Raise"
            " one of them, or train a `SharedEncoder`."
        )
    if not scale > 0:
        raise ValueError(f"`LowRankAdapters(scale=)` should be above 0. Found {scale}.")
