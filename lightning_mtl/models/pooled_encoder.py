"""Hard parameter sharing for facts about whole images."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.models.dense_network import DenseNetwork
from lightning_mtl.models.encoders.build import build_encoder


class PooledEncoder(DenseNetwork):
    """One encoder, the mean of its deepest features over the image, and one linear head per task.

    Args:
        channels: output channels by task.
        encoder: name of an encoder of segmentation-models-pytorch, as `build_encoder` takes it.
        encoder_weights: as smp has them; `None` starts from scratch and downloads nothing.
        in_channels: channels of the image.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        in_channels: int = 3,
    ) -> None:
        super().__init__(32, in_channels)
        self.encoder = build_encoder(
            encoder, encoder_weights, in_channels=in_channels, deepest=True
        )
        width = self.encoder.out_channels[-1]
        self.heads = nn.ModuleDict({task: nn.Linear(width, out) for task, out in channels.items()})

    def predict(self, image: Float[Tensor, "N I H W"]) -> dict[str, Float[Tensor, "N C"]]:
        """One pass of the encoder, then every head on the same features."""
        features = self.encoder(image)[-1].mean((-2, -1))
        return {task: head(features) for task, head in self.heads.items()}
