"""Files of data sets: where to look for them, and readers that check what they hold."""

import os
import struct
import tokenize
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Int64, Shaped
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lightning_mtl.data.augmentation.transforms import Compose, Resize, Transform
from lightning_mtl.data.reading.errors import CorruptFileError, DatasetNotFoundError, LabelError
from lightning_mtl.data.reading.matlab import read_variable

IGNORE = 255
UNREADABLE = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError),
    *(SyntaxError, TypeError, ValueError),
    *(struct.error, tokenize.TokenError, zlib.error, Image.DecompressionBombError),
)
"""What readers raise, each in its own way, for a file that is damaged or of another format."""


@dataclass(frozen=True)
class Source:
    """Where a data set is looked for, in which layout, and where to get it.

    Attributes:
        name: the name in the environment variable `LIGHTNING_MTL_<name>` that holds the folder.
        layout: the expected tree, one path per line.
        how_to_get: where the files are to be had; nothing is downloaded.
    """

    name: str
    layout: str
    how_to_get: str

    @property
    def variable(self) -> str:
        """The environment variable that holds the folder."""
        return f"LIGHTNING_MTL_{self.name}"

    def root(self, given: str | Path | None) -> Path:
        """The folder that is given, or else that of the environment variable.

        Raises:
            DatasetNotFoundError: if there is none, or it does not exist.
        """
        folder = given or os.environ.get(self.variable)
        if not folder:
            setting = "The variable is not set. Pass `root` or set the environment variable"
            remedy = f"{setting} {self.variable}. {self.how_to_get}"
            raise DatasetNotFoundError(f"${self.variable}", self.layout, remedy)
        return self.existing(Path(folder))

    def existing(self, path: Path) -> Path:
        """The path, after a check that it exists.

        Raises:
            DatasetNotFoundError: if nothing is there.
        """
        if not path.exists():
            setting = f"Pass `root` or set the environment variable {self.variable}."
            raise DatasetNotFoundError(path, self.layout, f"{setting} {self.how_to_get}")
        return path

    def names(self, path: Path) -> list[str]:
        """The names in the list of a split, one per line.

        Raises:
            DatasetNotFoundError: if the list is missing.
            CorruptFileError: if it is empty or no text, or if a name leads out of the folder.
        """
        what = "list of a split"
        names = read_text(self.existing(path), what).split()
        if not names:
            raise CorruptFileError(path, what, "one name per line", "no name")
        for name in names:
            check_inside(name, path, what)
        return names

    def stems(self, folder: Path, suffix: str) -> list[str]:
        """The names of the files in a folder, in the order of their numbers, or of the alphabet.

        Hidden files are none of them.

        Raises:
            DatasetNotFoundError: if there is none.
        """
        files = self.existing(folder).glob(f"*{suffix}")
        names = [path.stem for path in files if not is_hidden(path)]
        if not names:
            self.existing(folder / f"*{suffix}")
        return sorted(names, key=lambda name: (int(name) if name.isdecimal() else -1, name))


def is_hidden(path: Path) -> bool:
    """Whether the name begins with a dot, as of the `._1.jpg` that macOS leaves beside `1.jpg`."""
    return path.name.startswith(".")


def check_inside(name: str, path: Path, what: str) -> None:
    """Raise unless a name that a file lists stays in the folder of the data.

    Args:
        name: the name.
        path: the file that lists it, for the error.
        what: the role of that file, for the error.

    Raises:
        CorruptFileError: if the name is absolute or leads upwards.
    """
    listed = PurePosixPath(name.replace("\\", "/"))
    if listed.is_absolute() or ".." in listed.parts:
        raise CorruptFileError(path, what, "names of files in the folder of the data", repr(name))


def read_text(path: Path, what: str) -> str:
    """The text of a file, in UTF-8 on every system.

    Raises:
        CorruptFileError: if it is none.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UNREADABLE as error:
        raise CorruptFileError(path, what, "a text in UTF-8", str(error)) from error


def check_tasks(tasks: Sequence[str], available: Sequence[str]) -> tuple[str, ...]:
    """The tasks as a tuple, after a check that the data set has them.

    Raises:
        ValueError: if one is unknown.
    """
    unknown = sorted(set(tasks) - set(available))
    if unknown:
        raise ValueError(f"`tasks` should be among {tuple(available)}. Found {unknown}.")
    return tuple(tasks)


def finishing(size: tuple[int, int] | None, transform: Transform | None) -> Transform:
    """The transform of a sample that was read: resizing, if `size` is given, then `transform`."""
    steps: list[Transform] = [Resize(size)] if size else []
    return Compose([*steps, transform] if transform else steps)


def read_pixels(
    path: Path,
    what: str,
    shape: Sequence[int | None],
    dtypes: Sequence[type[np.generic]] = (np.uint8,),
) -> Shaped[Tensor, "..."]:
    """The values of a picture file; those of a palette picture are its indices.

    Args:
        path: the file.
        what: the role of the file, for the error.
        shape: expected sides; `None` allows any.
        dtypes: the dtypes that are allowed.

    Raises:
        CorruptFileError: if the file is no such picture.
    """
    expected = f"a picture {_shape(shape)} {_names(dtypes)}"
    try:
        with Image.open(path) as image:
            # Known from the header: a small file may unpack to more pixels than memory holds.
            size = (image.height, image.width)
            pixels = np.array(image) if _fits(size, shape[:2]) else None
    except UNREADABLE as error:
        raise CorruptFileError(path, what, expected, str(error)) from error
    if pixels is None:
        raise CorruptFileError(path, what, expected, f"{size}")
    _check(pixels, path, what, shape, dtypes, expected)
    return torch.from_numpy(pixels)


def read_image(path: Path, size: Sequence[int | None] = (None, None)) -> Float[Tensor, "3 H W"]:
    """The values of an 8-bit RGB picture, from 0 to 1."""
    return read_pixels(path, "image", (*size, 3)).permute(2, 0, 1) / 255


def read_array(
    path: Path,
    what: str,
    shape: Sequence[int | None],
    bounds: tuple[float, float],
    kinds: str = "f",
) -> Float[Tensor, "..."]:
    """The numbers of a `.npy` file as float32.

    Args:
        path: the file.
        what: the role of the file, for the error.
        shape: expected sides; `None` allows any.
        bounds: the least and the largest value that is allowed.
        kinds: the kinds of dtype that are allowed: f = float, i = signed, u = unsigned.

    Raises:
        CorruptFileError: if the file holds something else.
    """
    expected = f"an array {_shape(shape)} of kind {'/'.join(kinds)}"
    try:
        # Mapped rather than read: a header may declare more than the file has, or memory holds.
        array = np.lib.format.open_memmap(path, mode="r")
    except UNREADABLE as error:
        raise CorruptFileError(path, what, expected, str(error)) from error
    if array.dtype.kind not in kinds:
        raise CorruptFileError(path, what, expected, f"{array.shape} {array.dtype}")
    _check(array, path, what, shape, (array.dtype.type,), expected)
    low, high = array.min(), array.max()
    if not (bounds[0] <= low and high <= bounds[1]):
        within = f"values from {bounds[0]} to {bounds[1]}"
        raise CorruptFileError(path, what, within, f"values from {low} to {high}")
    return torch.from_numpy(array.astype(np.float32))


def read_mat(path: Path, field: str) -> NDArray[Any]:
    """A variable of a MATLAB file (version 5 to 7.2).

    Raises:
        CorruptFileError: if the file cannot be read or has no such variable.
    """
    what = f"field `{field}` of"
    try:
        variable = read_variable(path, field)
    except UNREADABLE as error:
        raise CorruptFileError(path, what, "a variable of a MATLAB file", str(error)) from error
    if isinstance(variable, list):
        raise CorruptFileError(path, what, f"a variable `{field}`", f"{sorted(variable)}")
    return variable


def look_up(
    labels: Int[Tensor, "H W"],
    table: Int64[Tensor, " L"],
    path: Path,
    expected: str,
    first: int = 0,
) -> Int64[Tensor, "H W"]:
    """Translate the labels of a file to classes.

    Args:
        labels: labels as they stand in the file.
        table: the class of each label from `first` on; -1 = no meaning.
        path: the file, for the error.
        expected: the labels that have a meaning, for the error.
        first: the label that the first entry of the table is for.

    Raises:
        LabelError: if a label has no meaning.
    """
    index = labels.long() - first
    inside = (index >= 0) & (index < len(table))
    classes = torch.where(inside, table[index.clamp(0, len(table) - 1)], -1)
    if (classes < 0).any():
        raise LabelError(path, expected, labels[classes < 0].unique().tolist()[:10])
    return classes


def identity_table(num_classes: int, ignored: int = IGNORE) -> Int64[Tensor, " 256"]:
    """The table of 8-bit labels that are the classes themselves, with one label to ignore."""
    table = torch.full((256,), -1)
    table[:num_classes] = torch.arange(num_classes)
    table[ignored] = IGNORE
    return table


def _check(
    array: NDArray[Any],
    path: Path,
    what: str,
    shape: Sequence[int | None],
    dtypes: Sequence[type[np.generic]],
    expected: str,
) -> None:
    if not _fits(array.shape, shape) or array.dtype.type not in dtypes:
        raise CorruptFileError(path, what, expected, f"{array.shape} {array.dtype}")


def _fits(sides: Sequence[int], shape: Sequence[int | None]) -> bool:
    """Whether sides are the expected ones; where any will do, it has to be at least 1."""
    return len(sides) == len(shape) and all(
        side > 0 if wanted is None else side == wanted
        for side, wanted in zip(sides, shape, strict=True)
    )


def _shape(shape: Sequence[int | None]) -> str:
    return f"({', '.join('any' if side is None else str(side) for side in shape)})"


def _names(dtypes: Sequence[type[np.generic]]) -> str:
    return " or ".join(dtype.__name__ for dtype in dtypes)
