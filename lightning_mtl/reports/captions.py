"""Words on pictures: what colours alone do not say."""

from collections.abc import Mapping
from functools import singledispatch
from math import ceil

import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor, to_dtype, to_pil_image

from lightning_mtl.metrics.per_image import per_image
from lightning_mtl.tasks import (
    Attributes,
    Classification,
    Depth,
    Disparity,
    HumanParts,
    Keypoints,
    Regression,
    Segmentation,
    Task,
)
from lightning_mtl.tasks.colors import class_colors

FEW = 3
"""Numbers of an image that have room on its picture."""

SMALL, SHARE = 11, 3
"""The size of letters in pixels, and the part of a picture's height that a short word takes."""

LINE = 16
"""The height of a line of a legend."""


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


@singledispatch
def colors_of(task: Task) -> Float[Tensor, "C 3"]:
    """What colours of a task mean its classes or keypoints, in their order; none for most."""
    return torch.zeros(0, 3)


@colors_of.register(Segmentation)
@colors_of.register(HumanParts)
@colors_of.register(Keypoints)
def _(task: Task) -> Float[Tensor, "C 3"]:
    return class_colors(task.out_channels)


def legend(tasks: Mapping[str, Task], width: int) -> Float[Tensor, "3 height width"]:
    """The number of every class beside its colour, on lines of their own for each task with any.

    Args:
        tasks: by their names.
        width: in pixels.
    """
    font = ImageFont.load_default(SMALL)
    marks: list[tuple[int, int, str, list[float]]] = []
    top = 0
    for name, task in tasks.items():
        colors = colors_of(task).tolist()
        left = 3
        for text, color in [(f"{name}:", []), *((str(k), c) for k, c in enumerate(colors))]:
            size = ceil(font.getlength(text)) + (LINE if color else 0) + 6
            if left + size > width:
                left, top = 3, top + LINE
            marks += [(left, top, text, color)] if colors else []
            left += size
        top += LINE if colors else 0
    if not marks:
        return torch.zeros(3, 0, width)
    strip = Image.new("RGB", (width, top), "white")
    pen = ImageDraw.Draw(strip)
    for left, y, text, color in marks:
        if color:
            red, green, blue = (round(255 * value) for value in color)
            pen.rectangle((left, y + 2, left + LINE - 4, y + LINE - 3), (red, green, blue))
        pen.text((left + (LINE if color else 0), y + LINE - 4), text, "black", font, anchor="ls")
    return to_dtype(pil_to_tensor(strip), torch.float32, scale=True)


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
