"""CelebA: aligned faces of celebrities with 40 attributes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor
from torch.utils.data import Dataset

from lightning_mtl.checks import check_choice
from lightning_mtl.data.augmentation.modalities import MODALITIES, Unplaced
from lightning_mtl.data.augmentation.transforms import RandomHorizontalFlip, Sample, Transform
from lightning_mtl.data.datamodule import FilesDataModule
from lightning_mtl.data.reading.errors import CorruptFileError
from lightning_mtl.data.reading.files import (
    Source,
    check_inside,
    check_tasks,
    finishing,
    read_image,
    read_text,
)
from lightning_mtl.data.reading.splits import SPLITS, Split

SOURCE = Source(
    name="CELEBA",
    layout="""root/img_align_celeba/<name>.jpg  218 x 178, 8 bit
root/list_attr_celeba.txt         number of rows; 40 names; then <name>.jpg and 40 times 1 or -1
root/list_eval_partition.txt      <name>.jpg and 0 (train), 1 (val) or 2 (test)""",
    how_to_get=(
        "The CelebA page of the Multimedia Laboratory, CUHK, links the aligned images, attributes "
        "and partition (non-commercial research)."
    ),
)
ATTRIBUTES = (
    *("5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs"),
    *("Big_Lips", "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair"),
    *("Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses", "Goatee", "Gray_Hair"),
    *("Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache"),
    *("Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline"),
    *("Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings"),
    *("Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young"),
)
PARTITIONS: dict[Split, str] = {"train": "0", "val": "1", "test": "2"}


class CelebA(Dataset[Sample]):
    """162770 faces to train, 19867 to validate, 19962 to test, with 40 binary attributes.

    Liu et al., ICCV 2015. The task `"attributes"` has all 40 at once, `(40,)`; a task with the name
    of an attribute has that one, `(1,)`. So 40 tasks are `tasks=CelebA.ATTRIBUTES`.

    Args:
        root: folder of the data; by default the environment variable `LIGHTNING_MTL_CELEBA`.
        split: the official split.
        size: height and width of the samples; `None` keeps 218 x 178.
        tasks: `"attributes"`, or names of attributes.
        transform: applied to a sample whenever it is read.

    Raises:
        DatasetNotFoundError: if a file is missing.
        CorruptFileError: if a file is not what it should be.
    """

    ATTRIBUTES: ClassVar[tuple[str, ...]] = ATTRIBUTES
    TASKS: ClassVar[tuple[str, ...]] = ("attributes", *ATTRIBUTES)

    def __init__(
        self,
        root: str | Path | None = None,
        split: Split = "train",
        size: tuple[int, int] | None = (64, 64),
        tasks: Sequence[str] = ("attributes",),
        transform: Transform | None = None,
    ) -> None:
        check_choice("CelebA", "split", split, SPLITS)
        self.tasks = check_tasks(tasks, self.TASKS)
        folder = SOURCE.root(root)
        self.images = SOURCE.existing(folder / "img_align_celeba")
        listed = read_attributes(SOURCE.existing(folder / "list_attr_celeba.txt"))
        partition = SOURCE.existing(folder / "list_eval_partition.txt")
        self.names = _split_names(partition, split, len(listed))
        present = set(os.listdir(self.images))
        for name in self.names:
            if name not in present:
                SOURCE.existing(self.images / name)
            if name not in listed:
                found = f"{len(listed)} other rows"
                path = folder / "list_attr_celeba.txt"
                raise CorruptFileError(path, "attributes", f"a row for {name}", found)
        self.labels = torch.stack([listed[name] for name in self.names])
        self._resize = finishing(size, None)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """The face and one entry per task."""
        sample = self._resize({"image": read_image(self.images / self.names[index], (218, 178))})
        labels = self.labels[index].float()
        for task in self.tasks:
            one = slice(None) if task == "attributes" else [ATTRIBUTES.index(task)]
            sample[task] = labels[one]
        return self.transform(sample) if self.transform else sample


@dataclass(kw_only=True, eq=False)
class CelebADataModule(FilesDataModule):
    """Faces with 40 attributes (`CelebA`): 162770 to train, 19867 to validate, 19962 to test.

    Args:
        root: folder of the data; by default the environment variable `LIGHTNING_MTL_CELEBA`.
        tasks: `"attributes"` (all 40 in one task), or names of attributes (one task each).
        augment: random flip in training.
    """

    ATTRIBUTES = ATTRIBUTES
    AUGMENTATION = (
        RandomHorizontalFlip(modalities={**MODALITIES, **dict.fromkeys(ATTRIBUTES, Unplaced())}),
    )

    size: tuple[int, int] | None = (64, 64)
    tasks: Sequence[str] = ("attributes",)
    augment: bool = False
    batch_size: int = 64

    def dataset(self, split: Split) -> CelebA:
        """The faces of the split, augmented only for training."""
        return CelebA(self.root, split, self.size, self.tasks, self.transform(split))


def read_attributes(path: Path) -> dict[str, Bool[Tensor, " 40"]]:
    """The attributes of each picture, by the name of its file.

    Raises:
        CorruptFileError: if names, rows or values are not those of CelebA.
    """
    lines = read_text(path, "attributes").splitlines()
    names = tuple(lines[1].split()) if len(lines) > 1 else ()
    if names != ATTRIBUTES:
        expected = f"the 40 names from {ATTRIBUTES[0]} to {ATTRIBUTES[-1]} in line 2"
        raise CorruptFileError(path, "attributes", expected, f"{names}")
    rows = [line.split() for line in lines[2:]]
    if lines[0].strip() != str(len(rows)):
        found = f"{len(rows)} rows"
        raise CorruptFileError(path, "attributes", f"{lines[0].strip()} rows as in line 1", found)
    for row in rows:
        if len(row) != 41 or not set(row[1:]) <= {"1", "-1"}:
            expected = "40 times 1 or -1 after each name"
            raise CorruptFileError(path, "attributes", expected, " ".join(row))
    values = torch.from_numpy(np.array([[value == "1" for value in row[1:]] for row in rows]))
    return {row[0]: value for row, value in zip(rows, values, strict=True)}


def _split_names(path: Path, split: Split, count: int) -> list[str]:
    rows = [line.split() for line in read_text(path, "partition").splitlines()]
    if len(rows) != count:
        expected = f"{count} rows, as many as faces have attributes"
        raise CorruptFileError(path, "partition", expected, f"{len(rows)} rows")
    for row in rows:
        if len(row) != 2 or row[1] not in PARTITIONS.values():
            expected = f"one of {sorted(PARTITIONS.values())} after each name"
            raise CorruptFileError(path, "partition", expected, " ".join(row))
        check_inside(row[0], path, "partition")
    names = [row[0] for row in rows if row[1] == PARTITIONS[split]]
    if not names:
        expected = f"rows that end in {PARTITIONS[split]} ({split})"
        raise CorruptFileError(path, "partition", expected, f"none among {len(rows)} rows")
    return names
