"""`DenseNetwork`, the base of all networks for images."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from lightning_mtl.checks import check_number
from lightning_mtl.models.network import MultiTaskNetwork

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Predictions = TypeVar("Predictions")


class DenseNetwork(MultiTaskNetwork, ABC):
    """A network that maps an image to one prediction per task, at the size of the image.

    Images in [0, 1] are standardised as for ImageNet, which is what pretrained encoders expect, and
    padded to a multiple of `stride`; predictions are cropped back. The first three channels are
    RGB. Those after them, such as a depth map, are passed on as they are; one or two channels
    without colour are standardised as grey.

    Args:
        stride: what height and width must be divisible by inside.
        in_channels: channels of the image.

    Raises:
        ValueError: if there is no channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, stride: int, in_channels: int = 3) -> None:
        check_number(self.title, "in_channels", in_channels, 1)
        super().__init__()
        self.stride = stride
        self.in_channels = in_channels
        mean, std = standardisation(in_channels)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    @property
    def title(self) -> str:
        """The name of the class, for messages."""
        return type(self).__name__

    @abstractmethod
    def predict(self, image: Float[Tensor, "N I H W"]) -> dict[str, Float[Tensor, "N C h w"]]:
        """Predictions for a standardised, padded image, at any size: they are resized to it.

        A fact about the whole image is `(N, C)` and stays so.
        """

    def forward(self, image: Float[Tensor, "N I H W"]) -> dict[str, Float[Tensor, "N C H W"]]:
        """Raw predictions (logits, metres, unnormalised vectors) for images in [0, 1].

        Raises:
            ValueError: if the images have other channels than the network, or if there is one image
                so small that batch norm cannot be trained with it.
        """
        padded, predictions = self._predicted(image, self.predict)
        return {
            task: at_size_of(prediction, padded, image) for task, prediction in predictions.items()
        }

    def _predicted(
        self, image: Tensor, predict: Callable[[Tensor], Predictions]
    ) -> tuple[Tensor, Predictions]:
        """The padded image and what is predicted for it, by `predict` or another method."""
        padded = self._padded(image)
        try:
            return padded, predict(padded)
        except ValueError as error:
            self._explain(error, image)
            raise

    def _padded(self, image: Tensor) -> Tensor:
        """The standardised image, padded to a multiple of the stride."""
        if image.ndim != 4 or image.shape[1] != self.in_channels:
            raise ValueError(
                f"`{self.title}` should be given images of shape (N, {self.in_channels}, H, W)."
                f" Found {tuple(image.shape)}. Set `{self.title}(in_channels=)` to the channels of"
                " the images."
            )
        height, width = image.shape[-2:]
        padding = (0, -width % self.stride, 0, -height % self.stride)
        # Padding with the edge's own colour: a frame of zeros would be a strong false contour.
        return F.pad((image - self.mean) / self.std, padding, mode="replicate")

    def _explain(self, error: ValueError, image: Tensor) -> None:
        """Raise an error of our own where torch says that batch norm has one value to normalise."""
        if "more than 1 value per channel" not in str(error):
            return
        height, width = image.shape[-2:]
        raise ValueError(
            f"`{self.title}` should be trained on two or more images at a time, because batch norm"
            f" needs more than one value per channel. Found one image of {height} x {width}, of"
            " which some layer makes a map of 1 x 1: an encoder of a small image, or the pooled"
            " branch of DeepLab of any. Raise `batch_size` (on each device), and leave out an"
            " incomplete last batch by `drop_last=True`."
        ) from error


def at_size_of(
    prediction: Float[Tensor, "N C ..."],
    padded: Float[Tensor, "N I H W"],
    image: Float[Tensor, "N I h w"],
) -> Float[Tensor, "N C ..."]:
    """A prediction for the padded image, resized to it and cropped to the image."""
    if prediction.ndim == 2:
        return prediction
    height, width = image.shape[-2:]
    return resized(prediction, padded.shape[-2:])[..., :height, :width]


def resized(prediction: Float[Tensor, "N C h w"], size: torch.Size) -> Float[Tensor, "N C H W"]:
    """A map at another size, by bilinear interpolation between the centres of its pixels."""
    if prediction.shape[-2:] == size:
        return prediction
    return F.interpolate(prediction, size=size, mode="bilinear", align_corners=False)


def standardisation(
    channels: int,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> tuple[Float[Tensor, "I 1 1"], Float[Tensor, "I 1 1"]]:
    """The mean and the standard deviation of each channel of an image in [0, 1].

    Fewer channels than three are grey, and those after the third are left as they are.

    Args:
        channels: of the image.
        mean: of red, green and blue.
        std: of red, green and blue.
    """
    means, stds = torch.tensor(mean), torch.tensor(std)
    if channels < 3:
        means, stds = means.mean().expand(channels), stds.mean().expand(channels)
    more = max(channels - 3, 0)
    means, stds = torch.cat([means, torch.zeros(more)]), torch.cat([stds, torch.ones(more)])
    return means.view(-1, 1, 1), stds.view(-1, 1, 1)
