"""NYUv2 in its official file: 1449 labelled Kinect frames of indoor scenes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from lightning_mtl.checks import check_choice
from lightning_mtl.data.augmentation.transforms import Sample, Transform
from lightning_mtl.data.datamodule import OfficialSplitsDataModule
from lightning_mtl.data.datasets.nyuv2_classes import classes_of_40
from lightning_mtl.data.datasets.nyuv2_frames import FRAME_SIZE, INTRINSICS, NYUv2Frames
from lightning_mtl.data.geometry import normals_from_depth
from lightning_mtl.data.reading.errors import CorruptFileError
from lightning_mtl.data.reading.files import (
    IGNORE,
    UNREADABLE,
    Source,
    check_tasks,
    finishing,
    look_up,
    read_mat,
)
from lightning_mtl.data.reading.normal_axes import read_normals
from lightning_mtl.data.reading.splits import SPLITS, Split

FILE = "nyu_depth_v2_labeled.mat"
LARGEST_DEPTH = 100
SOURCE = Source(
    name="NYUV2",
    layout=f"""root/{FILE}  HDF5: images, depths, rawDepths, labels
root/splits.mat                trainNdxs, testNdxs, counted from 1
root/classMapping40.mat        mapClass, from 894 to 40 classes""",
    how_to_get=(
        f"{FILE} (2.8 GB) is on the NYU Depth V2 page of Nathan Silberman; splits.mat and "
        f"classMapping40.mat are in the GitHub repository ankurhanda/nyuv2-meta-data."
    ),
)
FIELDS = {
    "images": ((3, 640, 480), np.dtype(np.uint8)),
    "labels": ((640, 480), np.dtype(np.uint16)),
    "depths": ((640, 480), np.dtype(np.float32)),
    "rawDepths": ((640, 480), np.dtype(np.float32)),
}


class NYUv2(Dataset[Sample]):
    """795 frames to train, 654 to test: 480 x 640, 40 or 13 classes, depth and normals.

    Silberman et al., ECCV 2012. Labels 0 (unlabelled) are ignored. Depths are the in-painted ones
    unless `raw_depth`. Normals are read from `normals`, or else computed from the depth and the
    calibration of the colour camera by a plane fit over 11 x 11 pixels. The white frame of the
    pictures, about 8 pixels wide, is kept, as in the survey.

    Args:
        root: folder of the data; by default the environment variable `LIGHTNING_MTL_NYUV2`.
        split: `"val"` is the official test split, since there is no other.
        num_classes: 40 or 13.
        size: height and width of the samples; by default as on disk.
        tasks: entries of a sample besides the image, any of `TASKS`.
        raw_depth: whether to use depths as measured, with holes.
        normals: folder of normals `<number from 1, 6 digits>.png`, 8 bit, v = 127.5 (n + 1), whose
            channels point right, forward and up (the ones of Ladicky et al., as Eigen gives them).
        transform: applied to a sample whenever it is read.

    Raises:
        DatasetNotFoundError: if a file is missing.
        CorruptFileError: if a file or one of its fields is not what it should be.
        LabelError: if a label is none of the 894 classes.
    """

    TASKS: ClassVar[tuple[str, ...]] = ("segmentation", "depth", "normals")

    def __init__(
        self,
        root: str | Path | None = None,
        split: Split = "train",
        num_classes: int = 40,
        size: tuple[int, int] | None = None,
        tasks: Sequence[str] = ("segmentation", "depth", "normals"),
        raw_depth: bool = False,
        normals: str | Path | None = None,
        transform: Transform | None = None,
    ) -> None:
        check_choice("NYUv2", "split", split, SPLITS)
        self.tasks = check_tasks(tasks, self.TASKS)
        self.root = SOURCE.root(root)
        self.path = SOURCE.existing(self.root / FILE)
        self.depth_field = "rawDepths" if raw_depth else "depths"
        self.normals = None if normals is None else Path(normals)
        fields = ("images", "labels", self.depth_field)
        self.frames = _split(self.root, split, _count(self.path, fields))
        self.table = _table(SOURCE.existing(self.root / "classMapping40.mat"), num_classes)
        self.intrinsics = torch.tensor(INTRINSICS)
        self._finish = finishing(size, transform)
        if self.normals and "normals" in self.tasks:
            for frame in self.frames:
                SOURCE.existing(self._normals_path(frame))

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        """The frame as image and one entry per task."""
        frame = self.frames[index]
        # Opened for each frame: an open file does not survive the way to a worker process.
        with h5py.File(self.path) as file:
            sample = {"image": _read(file, "images", frame, self.path).float() / 255}
            if "segmentation" in self.tasks:
                labels = _read(file, "labels", frame, self.path).int()
                meaning = "0 (unlabelled) or 1 to 894"
                sample["segmentation"] = look_up(labels, self.table, self.path, meaning)
            if {"depth", "normals"} & set(self.tasks):
                sample["depth"] = _read_depth(file, self.depth_field, frame, self.path)
        if "normals" in self.tasks:
            sample["normals"] = self._read_normals(frame, sample["depth"])
        return self._finish({name: sample[name] for name in ("image", *self.tasks)})

    def _read_normals(self, frame: int, depth: Float[Tensor, "1 H W"]) -> Float[Tensor, "3 H W"]:
        if self.normals is None:
            return normals_from_depth(depth, self.intrinsics, window=11)
        return read_normals(self._normals_path(frame), FRAME_SIZE, "right_forward_up")

    def _normals_path(self, frame: int) -> Path:
        return Path(self.normals or "") / f"{frame + 1:06d}.png"


@dataclass(kw_only=True, eq=False)
class NYUv2DataModule(OfficialSplitsDataModule):
    """The official file of NYUv2 (`NYUv2`): 795 frames to train, 654 to validate and test.

    There is no other validation split: choose nothing by it that you then report on it.

    Args:
        root: folder of the data; by default the environment variable `LIGHTNING_MTL_NYUV2`.
        num_classes: 40 or 13.
        tasks: entries of a sample besides the image, among `NYUv2.TASKS`.
        raw_depth: whether to use depths as measured, with holes.
        normals: folder of normals as pictures; by default they are computed from the depth.
        extra_root: folder of more training frames with fewer labels (`NYUv2Frames`).
        extra_tasks: labels that the extra frames have; some of `tasks`.
    """

    num_classes: int = 40
    tasks: Sequence[str] = ("segmentation", "depth", "normals")
    raw_depth: bool = False
    normals: str | Path | None = None
    extra_root: str | Path | None = None
    extra_tasks: Sequence[str] = ("depth", "normals")

    def dataset(self, split: Split) -> Dataset[Sample]:
        """The frames of the split; in training augmented and with the extra ones."""
        transform = self.transform(split)
        official = NYUv2(
            self.root,
            split,
            self.num_classes,
            self.size,
            self.tasks,
            self.raw_depth,
            self.normals,
            transform,
        )
        if split != "train" or self.extra_root is None:
            return official
        extra = NYUv2Frames(
            self.extra_root, self.num_classes, self.size, self.extra_tasks, transform
        )
        return ConcatDataset([official, extra])


def _count(path: Path, fields: Sequence[str]) -> int:
    """The number of frames, after a check of the fields."""
    try:
        with h5py.File(path) as file:
            return min(len(_field(file, field, path)) for field in fields)
    except CorruptFileError:
        raise
    except UNREADABLE as error:
        raise CorruptFileError(path, "data set", "a complete HDF5 file", str(error)) from error


def _field(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    shape, dtype = FIELDS[name]
    expected = f"frames {shape} {dtype}"
    if name not in file:
        raise CorruptFileError(path, f"field `{name}` of", expected, f"only {sorted(file)}")
    field = file[name]
    if not isinstance(field, h5py.Dataset):
        raise CorruptFileError(path, f"field `{name}` of", expected, f"a {type(field).__name__}")
    if field.shape[1:] != shape or field.dtype != dtype:
        found = f"{field.shape[1:]} {field.dtype}"
        raise CorruptFileError(path, f"field `{name}` of", expected, found)
    return field


def _read(file: h5py.File, name: str, frame: int, path: Path) -> Shaped[Tensor, "... H W"]:
    """One frame of a field, with rows and columns exchanged, since MATLAB stores columns."""
    try:
        values: NDArray[np.generic] = _field(file, name, path)[frame]
    except CorruptFileError:
        raise
    except UNREADABLE as error:
        what = f"field `{name}` of"
        raise CorruptFileError(path, what, f"a readable frame {frame + 1}", str(error)) from error
    if values.dtype == np.uint16:
        values = values.astype(np.int32)
    return torch.from_numpy(values).transpose(-1, -2).contiguous()


def _read_depth(file: h5py.File, name: str, frame: int, path: Path) -> Float[Tensor, "1 H W"]:
    depth = _read(file, name, frame, path)[None]
    low, high = depth.min(), depth.max()
    if not (low >= 0 and high <= LARGEST_DEPTH):
        expected = f"metres from 0 to {LARGEST_DEPTH} in frame {frame + 1}"
        found = f"values from {low} to {high}"
        raise CorruptFileError(path, f"field `{name}` of", expected, found)
    return depth


def _split(root: Path, split: Split, count: int) -> list[int]:
    field = "trainNdxs" if split == "train" else "testNdxs"
    path = SOURCE.existing(root / "splits.mat")
    return [number - 1 for number in _read_numbers(path, field, count)]


def _table(path: Path, num_classes: int) -> Int64[Tensor, " 895"]:
    """The class of each label from 0 to 894; label 0 is ignored."""
    classes = torch.tensor(_read_numbers(path, "mapClass", 40))
    if len(classes) != 894:
        found = f"{len(classes)} numbers"
        raise CorruptFileError(path, "field `mapClass` of", "894 numbers", found)
    labelled = classes_of_40(num_classes)[classes - 1]
    return torch.cat([torch.tensor([IGNORE]), labelled])


def _read_numbers(path: Path, field: str, largest: int) -> list[int]:
    """The whole numbers of a field, at least one, from 1 to the largest."""
    values = read_mat(path, field).ravel()
    expected = f"whole numbers from 1 to {largest}"
    if values.dtype.kind not in "iuf" or not len(values):
        found = f"{len(values)} values of type {values.dtype}"
        raise CorruptFileError(path, f"field `{field}` of", expected, found)
    if not ((values >= 1) & (values <= largest) & (values % 1 == 0)).all():
        found = f"{len(values)} numbers from {values.min()} to {values.max()}"
        raise CorruptFileError(path, f"field `{field}` of", expected, found)
    return [int(value) for value in values]
