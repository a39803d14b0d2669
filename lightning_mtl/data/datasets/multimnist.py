"""MultiMNIST: two overlapping digits in one picture, two tasks."""

import gzip
import struct
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from lightning_mtl.checks import check_choice
from lightning_mtl.data.augmentation.transforms import Sample, Transform
from lightning_mtl.data.datamodule import DeclaredDataModule
from lightning_mtl.data.reading.errors import CorruptFileError, LabelError
from lightning_mtl.data.reading.files import UNREADABLE, Source, check_tasks
from lightning_mtl.data.reading.splits import SPLITS, Split

SOURCE = Source(
    name="MNIST",
    layout="""root/MNIST/raw/train-images-idx3-ubyte[.gz]  60000 digits 28 x 28
root/MNIST/raw/train-labels-idx1-ubyte[.gz]
root/MNIST/raw/t10k-images-idx3-ubyte[.gz]   10000 digits 28 x 28
root/MNIST/raw/t10k-labels-idx1-ubyte[.gz]""",
    how_to_get="These are the four files of MNIST (LeCun and Cortes), laid out as by torchvision.",
)
Digits = Literal["official", "t10k"]
CANVAS = 36
SHIFT = 6
DIGIT = 28
LARGEST = 2**26
"""Bytes that an unpacked file may have; that of the 60000 training digits has 47 million."""


class MultiMNIST(Dataset[Sample]):
    """Pictures of two digits: one at the upper left (`left`), one at the lower right (`right`).

    Sabour et al., NeurIPS 2017, as Sener and Koltun, NeurIPS 2018, compose it: on a canvas of 36 x
    36 the left digit covers rows and columns 0 to 27, the right one 6 to 33; the brighter of the
    two counts. They then keep every pixel nearest to a grid of 28 x 28; `size=28` does so too. The
    i-th digit is the left one of picture i; the right one depends on `seed` and i alone, and comes
    from the same split. Targets are class numbers, `()` of int64.

    Args:
        root: folder of the data; by default the environment variable `LIGHTNING_MTL_MNIST`.
        split: digits of one split never occur in another.
        digits: `"official"`: the first 50000 of the training file train, its other 10000 validate,
            the t10k file tests. `"t10k"`: 8000, 1000 and 1000 of the t10k file.
        length: number of pictures; by default the number of digits of the split.
        size: 36, the canvas, or 28.
        seed: seed of the pairs.
        tasks: entries of a sample besides the image, any of `TASKS`.
        transform: applied to a sample whenever it is read.

    Raises:
        DatasetNotFoundError: if a file is missing.
        CorruptFileError: if a file is not what it should be.
        LabelError: if a label is no digit.
    """

    TASKS: ClassVar[tuple[str, ...]] = ("left", "right")

    def __init__(
        self,
        root: str | Path | None = None,
        split: Split = "train",
        digits: Digits = "official",
        length: int | None = None,
        size: Literal[28, 36] = 36,
        seed: int = 0,
        tasks: tuple[str, ...] = ("left", "right"),
        transform: Transform | None = None,
    ) -> None:
        if size not in (DIGIT, CANVAS):
            raise ValueError(f"`size` should be {DIGIT} or {CANVAS}. Found {size}.")
        check_choice("MultiMNIST", "split", split, SPLITS)
        self.tasks = check_tasks(tasks, self.TASKS)
        folder = SOURCE.existing(SOURCE.root(root) / "MNIST" / "raw")
        self.pictures, self.labels = _split_digits(folder, split, digits)
        self.length = len(self.labels) if length is None else length
        if self.length < 1:
            raise ValueError(f"`length` should be positive. Found {length}.")
        self.size = size
        self.seed = seed
        self.transform = transform

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        """The picture as grey RGB, and the two digits."""
        if not 0 <= index < self.length:
            raise IndexError(f"`index` should lie in [0, {self.length}). Found {index}.")
        left = index % len(self.labels)
        right = int(np.random.default_rng([self.seed, index]).integers(len(self.labels)))
        picture = compose(self.pictures[left], self.pictures[right])
        if self.size == DIGIT:
            nearest = ((torch.arange(DIGIT) + 0.5) * CANVAS / DIGIT).long()
            picture = picture[nearest][:, nearest]
        targets = {"left": self.labels[left], "right": self.labels[right]}
        sample = {"image": (picture / 255).expand(3, -1, -1).clone()}
        sample |= {task: targets[task] for task in self.tasks}
        return self.transform(sample) if self.transform else sample


@dataclass(eq=False)
class MultiMNISTDataModule(DeclaredDataModule):
    """Two overlapping digits (`MultiMNIST`); no digit occurs in two splits.

    Args:
        root: folder of the data; by default the environment variable `LIGHTNING_MTL_MNIST`.
        digits: which files: `"official"` (50000, 10000, 10000 digits) or `"t10k"` (8000, 1000,
            1000).
        length: number of training pictures; by default one per digit, as for the other splits.
        size: 36, the canvas, or 28, as published.
        seed: seed of the pairs.
    """

    root: str | Path | None = None
    _: KW_ONLY
    digits: Digits = "official"
    length: int | None = None
    size: Literal[28, 36] = 36
    seed: int = 0
    batch_size: int = 256

    def dataset(self, split: Split) -> MultiMNIST:
        """The pictures of the split."""
        length = self.length if split == "train" else None
        return MultiMNIST(self.root, split, self.digits, length, self.size, self.seed)


def compose(left: UInt8[Tensor, "28 28"], right: UInt8[Tensor, "28 28"]) -> UInt8[Tensor, "36 36"]:
    """The union of two digits, the right one 6 pixels further down and to the right."""
    canvas = left.new_zeros(2, CANVAS, CANVAS)
    canvas[0, :DIGIT, :DIGIT] = left
    canvas[1, SHIFT : SHIFT + DIGIT, SHIFT : SHIFT + DIGIT] = right
    return canvas.amax(0)


def _split_digits(folder: Path, split: Split, digits: Digits) -> tuple[Tensor, Tensor]:
    """Pictures (n, 28, 28) uint8 and labels (n,) int64 of the digits of a split."""
    file = "train" if digits == "official" and split != "test" else "t10k"
    pictures = _read_idx(folder / f"{file}-images-idx3-ubyte", (None, DIGIT, DIGIT))
    labels_path = folder / f"{file}-labels-idx1-ubyte"
    labels = _read_idx(labels_path, (len(pictures),))
    if labels.max() > 9:
        raise LabelError(labels_path, "0 to 9", np.unique(labels[labels > 9]).tolist())
    shares = {"official": (50, 10, 0), "t10k": (8, 1, 1)}[digits]
    if digits == "official" and split == "test":
        return torch.from_numpy(pictures), torch.from_numpy(labels).long()
    bounds = [0, *np.cumsum(shares) * len(labels) // sum(shares)]
    place = ("train", "val", "test").index(split)
    part = slice(int(bounds[place]), int(bounds[place + 1]))
    if part.start == part.stop:
        expected = f"enough digits for the split `{split}`"
        raise CorruptFileError(labels_path, "digits", expected, f"{len(labels)}")
    return torch.from_numpy(pictures[part]), torch.from_numpy(labels[part]).long()


def _read_idx(path: Path, shape: tuple[int | None, ...]) -> NDArray[np.uint8]:
    """The values of an IDX file, packed or not: it holds a magic number, the sides, the values."""
    packed = path.with_name(f"{path.name}.gz")
    path = path if path.exists() else SOURCE.existing(packed)
    expected = f"an IDX file of bytes with {len(shape)} axes, the last of {shape[1:]}"
    try:
        with gzip.open(path) if path == packed else path.open("rb") as file:
            # One more than the values that the largest file has: a small file may unpack to many.
            data = file.read(LARGEST + 1)
        magic, *sides = struct.unpack_from(f">{1 + len(shape)}I", data)
    except UNREADABLE as error:
        raise CorruptFileError(path, "digits", expected, str(error)) from error
    if len(data) > LARGEST:
        found = f"more than {LARGEST} bytes"
        raise CorruptFileError(path, "digits", f"at most {LARGEST} bytes", found)
    values = np.frombuffer(data, np.uint8, offset=4 * (1 + len(shape)))
    fits = all(wanted in (None, side) for wanted, side in zip(shape, sides, strict=True))
    if magic != 0x800 + len(shape) or not fits or values.size != np.prod(sides, dtype=np.int64):
        found = f"magic number {magic:#x}, sides {sides}, {values.size} values"
        raise CorruptFileError(path, "digits", expected, found)
    return values.reshape(sides).copy()
