"""Photos without labels, to predict on."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from lightning_mtl.data.augmentation.transforms import Resize, image_size
from lightning_mtl.data.reading.errors import DatasetNotFoundError
from lightning_mtl.data.reading.photos import SUFFIXES, find_files, read_photo

__all__ = ["Photos", "collate_photos"]


class Photos(Dataset[dict[str, Any]]):
    """The images of a folder and of those below, of any size, without labels.

    A sample has `image`, RGB from 0 to 1; `image_name`, the path relative to the folder; and
    `image_size`, the height and width of the file. Hidden files, such as the `._1.jpg` of macOS,
    are left out. Images are turned as their EXIF data say.

    Args:
        folder: a folder, or one image.
        size: height and width that the network was trained with: an image is scaled to as many
            pixels, and keeps its aspect ratio; `None` keeps the size of the file.

    Raises:
        DatasetNotFoundError: if there is no image.
        CorruptFileError: if a file is no image, when it is read.
    """

    def __init__(self, folder: str | Path, size: tuple[int, int] | None = None) -> None:
        self.folder = Path(folder)
        self.size = size
        self.names = find_files(self.folder)
        if self.folder.is_file() and self.folder.name.lower().endswith(SUFFIXES):
            self.folder, self.names = self.folder.parent, [self.folder.name]
        if not self.names:
            kinds = ", ".join(SUFFIXES)
            missing = self.folder / "*" if self.folder.is_dir() else self.folder
            layout = f"{folder}  an image ({kinds}), or a folder with images, also in folders below"
            raise DatasetNotFoundError(missing, layout, "Pass the folder of your images.")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The image with its name and size."""
        name = self.names[index]
        sample = {"image": read_photo(self.folder / name)}
        size = image_size(sample)
        if self.size is not None:
            sample = Resize(_same_pixels(size, self.size))(sample)
        return {**sample, "image_name": name, "image_size": size}


def collate_photos(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A batch of photos of one size: `image` is stacked, names and sizes are lists."""
    return {
        "image": torch.stack([sample["image"] for sample in samples]),
        "image_name": [sample["image_name"] for sample in samples],
        "image_size": [sample["image_size"] for sample in samples],
    }


def _same_pixels(size: tuple[int, int], model: tuple[int, int]) -> tuple[int, int]:
    """The height and width of the aspect ratio of `size` that have as many pixels as `model`."""
    factor = math.sqrt(math.prod(model) / math.prod(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
