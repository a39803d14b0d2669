"""Labels of one's own data as pictures: what a word of a config says of their pixels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lightning_mtl.data.augmentation.modalities import Directions, Distance, Labels, Modality
from lightning_mtl.data.reading.errors import CorruptFileError, LabelFileError
from lightning_mtl.data.reading.files import UNREADABLE
from lightning_mtl.data.reading.normal_axes import NormalAxes, camera_normals

__all__ = ["LABEL_SUFFIXES", "LabelFormat", "LabelWord", "label_formats"]

LabelWord: TypeAlias = Literal["classes", "mask", "depth_16bit", "normals_8bit"]
"""What the pixels of a label are."""

LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
"""Of pictures that keep every pixel; JPEG changes labels."""


@dataclass(frozen=True)
class LabelFormat:
    """How labels are stored, read and transformed.

    Attributes:
        layout: what the pixels are, for the description of the folder.
        modality: how they move, and what marks an unknown one.
        read: returns the labels of a file, after a check that it is as large as its image.
    """

    layout: str
    modality: Modality
    read: Callable[[Path, tuple[int, int]], Tensor]


def label_formats(depth_scale: float, normal_axes: NormalAxes) -> Mapping[LabelWord, LabelFormat]:
    """The format that each word stands for.

    Args:
        depth_scale: metres of one step of depth.
        normal_axes: what the channels of the normals point at.
    """
    return {
        "classes": LabelFormat("class numbers, 255 = unknown", Labels(), _read_classes),
        "mask": LabelFormat("0 and 1, or 0 and 255", Labels(), _read_mask),
        "depth_16bit": LabelFormat(
            f"16 bit, steps of {depth_scale:g} m, 0 = unknown",
            Distance(),
            partial(_read_depth, scale=depth_scale),
        ),
        "normals_8bit": LabelFormat(
            "8 bit RGB, 127.5 (n + 1), 127 or 128 = unknown",
            Directions(),
            partial(_read_normals, axes=normal_axes),
        ),
    }


def _read_classes(path: Path, size: tuple[int, int]) -> Int64[Tensor, "H W"]:
    expected = "one class number per pixel, grey or with a palette"
    remedy = "Translate colours to the numbers of the classes, and save it as PNG of 8 bits."
    pixels = _pixels(path, size)
    _check(path, pixels, pixels.ndim == 2 and pixels.dtype.kind in "bu", expected, remedy)
    return torch.from_numpy(pixels.astype(np.int64))


def _read_mask(path: Path, size: tuple[int, int]) -> Float[Tensor, "H W"]:
    expected = "one number per pixel, 0 and 1 or 0 and 255"
    remedy = "Save it as grey PNG of 8 bits, or read it as `classes` if it has several."
    pixels = _pixels(path, size)
    flags = pixels.dtype == bool or (pixels.dtype == np.uint8 and not 1 < pixels.max() < 128)
    _check(path, pixels, pixels.ndim == 2 and flags, expected, remedy)
    positive = pixels > (0 if pixels.max() <= 1 else 127)
    return torch.from_numpy(positive.astype(np.float32))


def _read_depth(path: Path, size: tuple[int, int], scale: float) -> Float[Tensor, "1 H W"]:
    expected = "one depth per pixel in 16 bits"
    remedy = "Save it as grey PNG of 16 bits; `depth_scale` is the number of metres of one step."
    pixels = _pixels(path, size)
    deep = pixels.dtype in (np.uint16, np.int32) and pixels.min() >= 0
    _check(path, pixels, pixels.ndim == 2 and deep, expected, remedy)
    return torch.from_numpy((pixels * np.float64(scale)).astype(np.float32))[None]


def _read_normals(path: Path, size: tuple[int, int], axes: NormalAxes) -> Float[Tensor, "3 H W"]:
    expected = "RGB of 8 bits, 127.5 (n + 1) for a normal n"
    pixels = _pixels(path, size)
    colors = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
    _check(path, pixels, colors, expected, "Save it as such a PNG, without transparency.")
    return camera_normals(torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1, axes)


def _pixels(path: Path, size: tuple[int, int]) -> NDArray[Any]:
    """The values of a picture that is as large as its image; of a palette picture the indices."""
    try:
        with Image.open(path) as image:
            # Known from the header: a small file may unpack to more pixels than memory holds.
            found = (image.height, image.width)
            pixels = np.array(image) if found == size else None
    except UNREADABLE as error:
        expected = "a picture that Pillow can read"
        raise CorruptFileError(path, "labels", expected, str(error)) from error
    if pixels is None:
        expected = f"as large as their image, {size[0]} x {size[1]} (height x width, upright)"
        remedy = "Resize them by nearest neighbour, or delete the file: a frame may lack labels."
        raise LabelFileError(path, expected, f"{found[0]} x {found[1]}", remedy)
    return pixels


def _check(path: Path, pixels: NDArray[Any], fits: bool, expected: str, remedy: str) -> None:
    if not fits:
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        found = (
            f"{channels} channel{'s' * (channels > 1)} of {pixels.dtype}, with values from"
            f" {pixels.min()} to {pixels.max()}"
        )
        raise LabelFileError(path, expected, found, remedy)
