"""`DenseNetwork`, the base of all networks."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class DenseNetwork(nn.Module, ABC):
    """A network that maps an image to one prediction per task, at the size of the image.

    Images in [0, 1] are standardised as for ImageNet, which is what pretrained encoders expect, and
    padded to a multiple of `stride`; predictions are cropped back.

    Args:
        stride: what height and width must be divisible by inside.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    @abstractmethod
    def predict(self, image: Float[Tensor, "N 3 H W"]) -> dict[str, Float[Tensor, "N C h w"]]:
        """Predictions for a standardised, padded image, at any size: they are resized to it.

        A fact about the whole image is `(N, C)` and stays so.
        """

    def forward(self, image: Float[Tensor, "N 3 H W"]) -> dict[str, Float[Tensor, "N C H W"]]:
        """Raw predictions (logits, metres, unnormalised vectors) for images in [0, 1]."""
        height, width = image.shape[-2:]
        padding = (0, -width % self.stride, 0, -height % self.stride)
        # Padding with the edge's own colour: a frame of zeros would be a strong false contour.
        padded = F.pad((image - self.mean) / self.std, padding, mode="replicate")
        size = padded.shape[-2:]
        return {
            task: prediction
            if prediction.ndim == 2
            else _resized(prediction, size)[..., :height, :width]
            for task, prediction in self.predict(padded).items()
        }


def _resized(prediction: Tensor, size: torch.Size) -> Tensor:
    if prediction.shape[-2:] == size:
        return prediction
    return F.interpolate(prediction, size=size, mode="bilinear", align_corners=False)
