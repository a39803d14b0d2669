"""Words on pictures: what colours alone do not say."""

from functools import singledispatch

import torch
from jaxtyping import Float
from PIL import ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor, to_dtype, to_pil_image

from lightning_mtl.metrics.per_image import per_image
from lightning_mtl.tasks import Attributes, Classification, Depth, Disparity, Regression, Task

FEW = 3
"""Numbers of an image that have room on its picture."""

SMALL, SHARE = 11, 3
"""The size of letters in pixels, and the part of a picture's height that a short word takes."""


@singledispatch
def target_words(task: Task, target: Tensor) -> list[str]:
    """What to write on the picture of each target: nothing, unless a kind of task knows better.

    Args:
        task: whose it is.
        target: as a batch has it.
    """
    return [""] * len(target)


@singledispatch
def prediction_words(task: Task, prediction: Tensor) -> list[str]:
    """As `target_words`, of each prediction.

    Args:
        task: whose it is.
        prediction: raw.
    """
    return [""] * len(prediction)


@target_words.register
def _(task: Depth, target: Tensor) -> list[str]:
    return [f"{words} m" if words else "" for words in _ranges(target)]


@target_words.register
def _(task: Disparity, target: Tensor) -> list[str]:
    return _ranges(target)


@target_words.register
def _(task: Classification, target: Tensor) -> list[str]:
    return ["" if label == task.ignore_index else str(label) for label in target.tolist()]


@prediction_words.register
def _(task: Classification, prediction: Tensor) -> list[str]:
    return [str(label) for label in per_image(prediction).argmax(dim=1).tolist()]


@target_words.register
def _(task: Attributes, target: Tensor) -> list[str]:
    return _numbers(torch.where(target == task.ignore_index, torch.nan, target.float()))


@prediction_words.register
def _(task: Attributes, prediction: Tensor) -> list[str]:
    return _numbers(torch.sigmoid(per_image(prediction)))


@target_words.register
def _(task: Regression, target: Tensor) -> list[str]:
    return _numbers(target)


@prediction_words.register
def _(task: Regression, prediction: Tensor) -> list[str]:
    return _numbers(per_image(prediction))


def written(pictures: Float[Tensor, "N 3 H W"], words: list[str]) -> Float[Tensor, "N 3 H W"]:
    """The pictures with words in their lower left corners, white with a black rim.

    Args:
        pictures: RGB from 0 to 1.
        words: one for each picture; where they are empty the picture is returned as it is.
    """
    return torch.stack(
        [
            _with(picture, word) if word else picture
            for picture, word in zip(pictures, words, strict=True)
        ]
    )


def _with(picture: Float[Tensor, "3 H W"], word: str) -> Float[Tensor, "3 H W"]:
    image = to_pil_image(picture.float().cpu().clamp(0, 1))
    height = image.height
    font = ImageFont.load_default(max(SMALL, height // SHARE) if len(word) < FEW else SMALL)
    pen = ImageDraw.Draw(image)
    place = (3, height - 3)
    pen.text(place, word, "white", font, anchor="ls", stroke_width=1, stroke_fill="black")
    return to_dtype(pil_to_tensor(image), torch.float32, scale=True).to(picture)


def _ranges(target: Float[Tensor, "N 1 H W"]) -> list[str]:
    """The smallest and the largest valid value of each target, which its colours span."""
    valid = [values[values > 0] for values in target.float()]
    return [f"{float(v.min()):.2g}-{float(v.max()):.2g}" if v.numel() else "" for v in valid]


def _numbers(values: Float[Tensor, "N C"]) -> list[str]:
    if values.shape[1] > FEW:
        return [""] * len(values)
    return [" ".join("?" if v != v else f"{v:.2g}" for v in row) for row in values.tolist()]
