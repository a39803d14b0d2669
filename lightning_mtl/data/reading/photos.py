"""Photos: pictures of any size and kind, as a person keeps them in a folder."""

import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from lightning_mtl.data.reading.errors import CorruptFileError
from lightning_mtl.data.reading.files import UNREADABLE

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")


def find_files(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[str]:
    """The paths of files in a folder and in those below, relative to it, with "/", in order.

    Files and folders whose names begin with a dot are left out.

    Args:
        folder: where to look.
        suffixes: those of the files to find, in lower case; upper case counts as well.
    """
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inner = Path(place).relative_to(folder)
        found += [
            (inner / name).as_posix()
            for name in files
            if name.lower().endswith(suffixes) and not name.startswith(".")
        ]
    return sorted(found)


def read_photo(path: Path) -> Float[Tensor, "3 H W"]:
    """The colours of a picture from 0 to 1, upright, whatever kind of picture it is.

    A camera that was turned says so in the file (EXIF), and the picture is turned accordingly.
    Grey becomes RGB, 16 bits are scaled to the same range, and transparent pixels show white.

    Raises:
        CorruptFileError: if the file is no picture, or one that is damaged.
    """
    try:
        with Image.open(path) as image:
            pixels = _rgb(ImageOps.exif_transpose(image))
    except UNREADABLE as error:
        expected = "a picture that Pillow can read"
        raise CorruptFileError(path, "image", expected, str(error)) from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode in DEEP:
        return _deep(image)
    if image.has_transparency_data:
        colors = image.convert("RGBA")
        white = Image.new("RGBA", colors.size, "white")
        image = Image.alpha_composite(white, colors)
    return np.asarray(image.convert("RGB"), np.float32) / 255


def _deep(image: Image.Image) -> np.ndarray:
    """Grey of 16 bits, or of numbers from 0 to 1, which Pillow would cut off at 255."""
    grey = np.asarray(image, np.float32) / (1 if image.mode == "F" else 65535)
    if not (grey.min() >= 0 and grey.max() <= 1):
        highest = "1" if image.mode == "F" else "65535"
        raise ValueError(f"values of grey outside 0 to {highest}")
    return np.repeat(grey[..., None], 3, axis=-1)
