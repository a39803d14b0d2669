"""`ImageFeatures`, the backbone for images."""

from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.models.dense_network import DenseNetwork
from lightning_mtl.models.encoders.build import build_encoder

__all__ = ["ImageFeatures"]


class ImageFeatures(nn.Module):
    """A backbone for images: the mean, over the image, of an encoder's deepest features.

    Images are in [0, 1], and standardised and padded as `DenseNetwork` does it.

    Args:
        encoder: name of an encoder of segmentation-models-pytorch, as `build_encoder` takes it.
        encoder_weights: as smp has them; `None` starts from scratch and downloads nothing.
        in_channels: channels of the image.

    Attributes:
        out_features: number of features.

    Raises:
        ValueError: if the encoder is not known, or there is no channel.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     ImageFeatures("resnet18").out_features
        512
    """

    def __init__(
        self,
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.pooled = _ImageFeatures(encoder, encoder_weights, in_channels)
        self.out_features = int(self.pooled.encoder.out_channels[-1])

    def forward(self, image: Float[Tensor, "N I H W"]) -> Float[Tensor, "N F"]:
        """The features of each image.

        Raises:
            ValueError: if the images have other channels than the encoder.
        """
        return self.pooled(image)["features"]


class _ImageFeatures(DenseNetwork):
    """A network whose one prediction is the features."""

    def __init__(self, encoder: str, encoder_weights: str | None, in_channels: int) -> None:
        super().__init__(32, in_channels)
        self.encoder = build_encoder(
            encoder, encoder_weights, in_channels=in_channels, deepest=True
        )

    @property
    def title(self) -> str:
        return "ImageFeatures"

    def predict(self, image: Float[Tensor, "N I H W"]) -> dict[str, Float[Tensor, "N F"]]:
        return {"features": self.encoder(image)[-1].mean((-2, -1))}
