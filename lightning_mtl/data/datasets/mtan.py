"""NYUv2 and Cityscapes as arrays, the layout of MTAN (Liu et al., CVPR 2019) and of LibMTL."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from lightning_mtl.checks import check_choice
from lightning_mtl.data.augmentation.transforms import Sample, Transform
from lightning_mtl.data.datamodule import OfficialSplitsDataModule
from lightning_mtl.data.reading.files import (
    IGNORE,
    Source,
    check_tasks,
    finishing,
    look_up,
    read_array,
)
from lightning_mtl.data.reading.normal_axes import NormalAxes, camera_normals, check_facing
from lightning_mtl.data.reading.splits import SPLITS, Split, train_or_val

NYUV2 = Source(
    name="NYUV2_MTAN",
    layout="""root/{train,val}/image/<i>.npy   288 x 384 x 3, from 0 to 1
root/{train,val}/label/<i>.npy   288 x 384, -1 = ignore, 0 to 12
root/{train,val}/depth/<i>.npy   288 x 384 x 1, metres, 0 = invalid
root/{train,val}/normal/<i>.npy  288 x 384 x 3, unit vectors, 0 = invalid""",
    how_to_get="The README of the GitHub repository lorenmt/mtan links the pre-processed NYUv2.",
)
CITYSCAPES = Source(
    name="CITYSCAPES_MTAN",
    layout="""root/{train,val}/image/<i>.npy            128 x 256 x 3 or 256 x 512 x 3, from 0 to 1
root/{train,val}/label_{2,7,19}/<i>.npy   the same size, -1 = ignore
root/{train,val}/depth/<i>.npy            the same size x 1, disparity, 0 = invalid""",
    how_to_get=(
        "The README of the GitHub repository lorenmt/mtan links the pre-processed Cityscapes."
    ),
)


class NYUv2Arrays(Dataset[Sample]):
    """NYUv2 at 288 x 384 with 13 classes, depth and precomputed normals: 795 and 654 frames.

    Args:
        root: folder of the data; by default the environment variable `LIGHTNING_MTL_NYUV2_MTAN`.
        split: `"test"` is the `val` folder as well, since there is no other.
        size: height and width of the samples; by default as on disk.
        tasks: entries of a sample besides the image, any of `TASKS`; only their folders
            have to exist.
        normal_axes: what the channels of the normals point at; checked on a few frames.
        transform: applied to a sample whenever it is read.

    Raises:
        DatasetNotFoundError: if a file of a task is missing.
        CorruptFileError: if a file is not what it should be.
        LabelError: if a label is no class.
        ValueError: if the normals do not face the camera.
    """

    TASKS: ClassVar[tuple[str, ...]] = ("segmentation", "depth", "normals")

    def __init__(
        self,
        root: str | Path | None = None,
        split: Split = "train",
        size: tuple[int, int] | None = None,
        tasks: Sequence[str] = ("segmentation", "depth", "normals"),
        normal_axes: NormalAxes = "right_forward_up",
        transform: Transform | None = None,
    ) -> None:
        check_choice("NYUv2Arrays", "split", split, SPLITS)
        self.tasks = check_tasks(tasks, self.TASKS)
        folders = {"segmentation": "label", "depth": "depth", "normals": "normal"}
        self.folders = {"image": "image"} | {task: folders[task] for task in self.tasks}
        self.folder = NYUV2.existing(NYUV2.root(root) / train_or_val(split))
        self.names = _names(NYUV2, self.folder, list(self.folders.values()))
        self.normal_axes = normal_axes
        self.table = _table(13)
        self._finish = finishing(size, transform)
        if "normals" in self.tasks:
            check_facing(
                self.names,
                lambda name: self._read(name)["normals"],
                self.folder / "normal",
                normal_axes,
            )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """The frame as image and one entry per task."""
        return self._finish(self._read(self.names[index]))

    def _read(self, name: str) -> Sample:
        paths = {
            entry: self.folder / folder / f"{name}.npy" for entry, folder in self.folders.items()
        }
        sample = {"image": _read_image(paths["image"], (288, 384))}
        if "segmentation" in paths:
            sample["segmentation"] = _read_labels(paths["segmentation"], self.table, (288, 384))
        if "depth" in paths:
            sample["depth"] = _channels(paths["depth"], "depth", (288, 384, 1), (0, 100))
        if "normals" in paths:
            vectors = _channels(paths["normals"], "normals", (288, 384, 3), (-1.05, 1.05))
            sample["normals"] = camera_normals(vectors, self.normal_axes)
        return sample


class CityscapesArrays(Dataset[Sample]):
    """Cityscapes at 128 x 256 or 256 x 512 with 2, 7 or 19 classes and disparity: 2975 and 500.

    The folder `depth` holds disparities, 16-bit values of the official files divided by 65535, so
    that (65535 d - 1) / 256 are pixels of the pictures 2048 wide. They stay as they are, since
    published errors are on that scale; so they range from 0 to 0.49 only.

    Args:
        root: folder of the data; by default the variable `LIGHTNING_MTL_CITYSCAPES_MTAN`.
        split: `"test"` is the `val` folder as well, since there is no other.
        num_classes: 2, 7 or 19.
        label_folder: folder of the labels; by default `label_<num_classes>`.
        size: height and width of the samples; by default as on disk.
        tasks: entries of a sample besides the image, any of `TASKS`; only their folders
            have to exist.
        transform: applied to a sample whenever it is read.

    Raises:
        DatasetNotFoundError: if a file of a task is missing.
        CorruptFileError: if a file is not what it should be.
        LabelError: if a label is no class.
    """

    TASKS: ClassVar[tuple[str, ...]] = ("segmentation", "disparity")

    def __init__(
        self,
        root: str | Path | None = None,
        split: Split = "train",
        num_classes: int = 7,
        label_folder: str | None = None,
        size: tuple[int, int] | None = None,
        tasks: Sequence[str] = ("segmentation", "disparity"),
        transform: Transform | None = None,
    ) -> None:
        if num_classes not in (2, 7, 19):
            raise ValueError(f"`num_classes` should be 2, 7 or 19. Found {num_classes}.")
        check_choice("CityscapesArrays", "split", split, SPLITS)
        self.tasks = check_tasks(tasks, self.TASKS)
        folders = {"segmentation": label_folder or f"label_{num_classes}", "disparity": "depth"}
        self.folders = {"image": "image"} | {task: folders[task] for task in self.tasks}
        self.folder = CITYSCAPES.existing(CITYSCAPES.root(root) / train_or_val(split))
        self.names = _names(CITYSCAPES, self.folder, list(self.folders.values()))
        self.table = _table(num_classes)
        self._finish = finishing(size, transform)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """The frame as image and one entry per task."""
        name = self.names[index]
        paths = {
            entry: self.folder / folder / f"{name}.npy" for entry, folder in self.folders.items()
        }
        sample = {"image": _read_image(paths["image"], (None, None))}
        height, width = sample["image"].shape[-2:]
        if "segmentation" in paths:
            sample["segmentation"] = _read_labels(
                paths["segmentation"], self.table, (height, width)
            )
        if "disparity" in paths:
            shape = (height, width, 1)
            sample["disparity"] = _channels(paths["disparity"], "disparity", shape, (0, 1))
        return self._finish(sample)


@dataclass(kw_only=True, eq=False)
class NYUv2ArraysDataModule(OfficialSplitsDataModule):
    """NYUv2 as arrays of MTAN and LibMTL (`NYUv2Arrays`): 288 x 384, 13 classes.

    There is no other validation split than the test split.

    Args:
        root: folder of the data; by default the environment variable `LIGHTNING_MTL_NYUV2_MTAN`.
        tasks: entries of a sample besides the image, among `NYUv2Arrays.TASKS`.
        normal_axes: what the channels of the normals point at.
        extra_root: folder of more training frames with fewer labels, in the same layout.
        extra_tasks: labels that the extra frames have; some of `tasks`.
    """

    tasks: Sequence[str] = ("segmentation", "depth", "normals")
    normal_axes: NormalAxes = "right_forward_up"
    extra_root: str | Path | None = None
    extra_tasks: Sequence[str] = ("depth", "normals")

    def dataset(self, split: Split) -> Dataset[Sample]:
        """The frames of the split; in training augmented and with the extra ones."""
        labelled = self._arrays(self.root, split, self.tasks)
        if split != "train" or self.extra_root is None:
            return labelled
        return ConcatDataset([labelled, self._arrays(self.extra_root, split, self.extra_tasks)])

    def _arrays(self, root: str | Path | None, split: Split, tasks: Sequence[str]) -> NYUv2Arrays:
        transform = self.transform(split)
        return NYUv2Arrays(root, split, self.size, tasks, self.normal_axes, transform)


@dataclass(kw_only=True, eq=False)
class CityscapesArraysDataModule(OfficialSplitsDataModule):
    """Cityscapes as arrays of MTAN and LibMTL (`CityscapesArrays`).

    There is no other validation split than the test split.

    Args:
        root: folder of the data; by default the variable `LIGHTNING_MTL_CITYSCAPES_MTAN`.
        num_classes: 2, 7 or 19.
        label_folder: folder of the labels; by default `label_<num_classes>`.
        tasks: entries of a sample besides the image, among `CityscapesArrays.TASKS`.
    """

    num_classes: int = 7
    label_folder: str | None = None
    tasks: Sequence[str] = ("segmentation", "disparity")
    augment: bool = False
    batch_size: int = 64

    def dataset(self, split: Split) -> CityscapesArrays:
        """The frames of the split, augmented only for training."""
        return CityscapesArrays(
            self.root,
            split,
            self.num_classes,
            self.label_folder,
            self.size,
            self.tasks,
            self.transform(split),
        )


def _names(source: Source, folder: Path, kinds: Sequence[str]) -> list[str]:
    """The names of the frames in the order of their numbers, after a check of all folders."""
    names = source.stems(folder / "image", ".npy")
    for kind in kinds:
        missing = set(names) - set(source.stems(folder / kind, ".npy"))
        for name in sorted(missing):
            source.existing(folder / kind / f"{name}.npy")
    return names


def _table(num_classes: int) -> Tensor:
    """The class of each label from -1 on."""
    return torch.cat([torch.tensor([IGNORE]), torch.arange(num_classes)])


def _read_labels(path: Path, table: Tensor, size: Sequence[int | None]) -> Tensor:
    # Published files hold whole numbers as floats.
    labels = read_array(path, "labels", size, (-(2**15), 2**15), "fiu").round().long()
    return look_up(labels, table, path, f"-1 (ignored) or 0 to {len(table) - 2}", first=-1)


def _read_image(path: Path, size: Sequence[int | None]) -> Tensor:
    # Interpolation may have gone a little past the ends of the range.
    return _channels(path, "image", (*size, 3), (-0.01, 1.01)).clamp(0, 1)


def _channels(
    path: Path, what: str, shape: Sequence[int | None], bounds: tuple[float, float]
) -> Tensor:
    return read_array(path, what, shape, bounds).permute(2, 0, 1)
