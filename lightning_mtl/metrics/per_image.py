"""Predictions of one vector per image."""

from jaxtyping import Float
from torch import Tensor

__all__ = ["per_image"]


def per_image(
    prediction: Float[Tensor, "N C"] | Float[Tensor, "N C H W"],
) -> Float[Tensor, "N C"]:
    """The vector of each image in float32; that of a dense prediction is its mean over the pixels.

    So a network for dense prediction also predicts facts about whole images.
    """
    return prediction.float().flatten(2).mean(dim=2) if prediction.ndim > 2 else prediction.float()
