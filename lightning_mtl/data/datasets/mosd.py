"""mOSD: Kinect frames of tables with objects, the small real benchmark."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor
from torch.utils.data import Dataset

from lightning_mtl.checks import check_choice
from lightning_mtl.data.augmentation.transforms import (
    ColorJitter,
    RandomHorizontalFlip,
    Resize,
    Sample,
    Transform,
)
from lightning_mtl.data.datamodule import OfficialSplitsDataModule, evenly_spread
from lightning_mtl.data.geometry import normals_from_depth
from lightning_mtl.data.reading.errors import CorruptFileError, LabelError
from lightning_mtl.data.reading.files import (
    IGNORE,
    Source,
    check_tasks,
    read_image,
    read_pixels,
    read_text,
)
from lightning_mtl.data.reading.splits import SPLITS, Split

FRAME_SIZE = (480, 640)
FOLDERS = {"rgb": "jpg", "depth_mm": "png", "label": "png"}
SOURCE = Source(
    name="MOSD",
    layout="""root/train.txt, root/test.txt  names of the frames, one per line
root/intrinsics.txt            camera matrix, 3 x 3
root/rgb/<name>.jpg            480 x 640, 8 bit
root/depth_mm/<name>.png       480 x 640, 16 bit, millimetres, 0 = invalid
root/label/<name>.png          480 x 640, 8 bit, 0 = invalid, 1-9 = table, 10 k + i = object k""",
    how_to_get=(
        "The frames are the organised point clouds in segmentation/mOSD of the GitHub repository "
        "PointCloudLibrary/data (BSD-3-Clause), written out as pictures in this layout."
    ),
)


class MOSD(Dataset[Sample]):
    """107 registered RGB-D frames (Kinect v1) of a table with objects: 45 to train, 62 to test.

    The modified Object Segmentation Database: Richtsfeld et al., IROS 2012, as distributed with the
    Point Cloud Library. Classes are the table and what lies on it; the surroundings (39 % of the
    pixels) have no labels. Normals are not measured: they come from the depth at full resolution,
    by a plane fit over 11 x 11 pixels. An edge is a pixel whose object differs from that of its
    right or lower neighbour.

    Args:
        root: folder of the data; by default the environment variable `LIGHTNING_MTL_MOSD`.
        split: `"val"` are the frames that `val_fraction` holds out, and the test frames if that is
            0.
        size: height and width of the samples.
        tasks: entries of a sample besides the image, any of `TASKS`.
        transform: applied to a sample whenever it is read.
        val_fraction: share of the 45 training frames to hold out, evenly spread over the list.
        cache: whether to keep the decoded, resized frames in memory (0.7 MB each at 120 x 160).

    Raises:
        DatasetNotFoundError: if the folder or a file of the split is missing.
        CorruptFileError: if a file is no image of the expected size and depth (at once if cached).
        LabelError: if a label image holds other labels (at once if cached).
    """

    CLASSES: ClassVar[tuple[str, ...]] = ("table", "object")
    TASKS: ClassVar[tuple[str, ...]] = ("segmentation", "depth", "normals", "edges")

    def __init__(
        self,
        root: str | Path | None = None,
        split: Split = "train",
        size: tuple[int, int] = (120, 160),
        tasks: Sequence[str] = ("segmentation", "depth", "normals"),
        transform: Transform | None = None,
        val_fraction: float = 0.0,
        cache: bool = True,
    ) -> None:
        check_choice("MOSD", "split", split, SPLITS)
        self.tasks = check_tasks(tasks, self.TASKS)
        self.root = SOURCE.root(root)
        self.size = size
        self.transform = transform
        self.names = _names(self.root, split, val_fraction)
        self.intrinsics = _read_intrinsics(SOURCE.existing(self.root / "intrinsics.txt"))
        self._resize = Resize(size)
        self._cached = [self._read(name) for name in self.names] if cache else None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """The frame as image and one entry per task."""
        sample = self._cached[index] if self._cached else self._read(self.names[index])
        return self.transform(sample) if self.transform else dict(sample)

    def _read(self, name: str) -> Sample:
        paths = {folder: _path(self.root, folder, name) for folder in FOLDERS}
        label = read_pixels(paths["label"], "labels", FRAME_SIZE).long()
        depth = read_pixels(paths["depth_mm"], "depth", FRAME_SIZE, (np.uint16,)).float()[None]
        depth = depth / 1000
        frame = {
            "segmentation": _classes(label, paths["label"]),
            "depth": depth,
            "edges": torch.where(label == 0, IGNORE, torch.where(label < 10, 0, label // 10)),
        }
        if "normals" in self.tasks:
            frame["normals"] = normals_from_depth(depth, self.intrinsics, window=11)
        frame = {task: frame[task] for task in self.tasks}
        frame["image"] = read_image(paths["rgb"], FRAME_SIZE)
        sample = self._resize(frame)
        if "edges" in sample:
            sample["edges"] = boundaries(sample["edges"])
        return sample


@dataclass(eq=False)
class MOSDDataModule(OfficialSplitsDataModule):
    """Real Kinect frames (`MOSD`): 45 to train, 62 to test.

    With `val_fraction=0` validation runs on the official test frames, as is usual for this size of
    data: choose nothing by it that you then report on them.

    Args:
        root: folder of the data; by default the environment variable `LIGHTNING_MTL_MOSD`.
        size: height and width of the samples.
        augment: random flip and colours in training.
        tasks: entries of a sample besides the image, among `MOSD.TASKS`.
        cache: whether to keep the decoded frames in memory.
    """

    CLASSES = MOSD.CLASSES
    # Only what keeps the camera: its distance to the table hardly varies, and depth depends on it.
    # With a zoom by up to 1.3 and rotations by 5 degrees the relative depth error of the test
    # frames doubles.
    AUGMENTATION = (RandomHorizontalFlip(), ColorJitter())

    size: tuple[int, int] = (120, 160)
    _: KW_ONLY
    tasks: Sequence[str] = ("segmentation", "depth", "normals")
    cache: bool = True

    def dataset(self, split: Split) -> MOSD:
        """The frames of the split, augmented only for training."""
        return self._frames(split, 0.0)

    def _part_of_training(self, split: Split) -> MOSD:
        # `MOSD` reads and keeps only the frames of the part.
        return self._frames(split, self.val_fraction)

    def _frames(self, split: Split, val_fraction: float) -> MOSD:
        return MOSD(
            self.root,
            split,
            self.size,
            self.tasks,
            self.transform(split),
            val_fraction,
            self.cache,
        )


def boundaries(instances: Int[Tensor, "H W"], ignore: int = IGNORE) -> Float[Tensor, "H W"]:
    """Edges: 1 where the instance to the right or below is another, `ignore` if that is unknown."""
    right = torch.cat([instances[:, 1:], instances[:, -1:]], dim=1)
    below = torch.cat([instances[1:], instances[-1:]], dim=0)
    labelled = instances != ignore
    edge = ((instances != right) & (right != ignore)) | ((instances != below) & (below != ignore))
    unknown = ~labelled | (right == ignore) | (below == ignore)
    return torch.where(edge & labelled, 1.0, torch.where(unknown, float(ignore), 0.0))


def _names(root: Path, split: Split, val_fraction: float) -> list[str]:
    """The names of the frames of a split, after a check that their files exist."""
    if not 0 <= val_fraction < 1:
        raise ValueError(f"`val_fraction` should lie in [0, 1). Found {val_fraction}.")
    official = "train" if split == "train" or (split == "val" and val_fraction > 0) else "test"
    names = SOURCE.names(root / f"{official}.txt")
    if official == "train" and val_fraction > 0:
        held_out = evenly_spread(len(names), max(1, round(val_fraction * len(names))))
        names = [name for i, name in enumerate(names) if (i in held_out) == (split == "val")]
    for name in names:
        for folder in FOLDERS:
            SOURCE.existing(_path(root, folder, name))
    return names


def _path(root: Path, folder: str, name: str) -> Path:
    return root / folder / f"{name}.{FOLDERS[folder]}"


def _read_intrinsics(path: Path) -> Float[Tensor, "3 3"]:
    numbers = read_text(path, "camera matrix").split()
    expected = "9 numbers of an invertible matrix"
    try:
        matrix = torch.tensor([float(number) for number in numbers]).reshape(3, 3)
        invertible = bool(torch.linalg.det(matrix).abs() > 0)
    except (ValueError, RuntimeError) as error:
        raise CorruptFileError(path, "camera matrix", expected, repr(numbers)) from error
    if not invertible or not matrix.isfinite().all():
        raise CorruptFileError(path, "camera matrix", expected, repr(numbers))
    return matrix


def _classes(label: Int64[Tensor, "H W"], path: Path) -> Int64[Tensor, "H W"]:
    """The class of each pixel: 0 = table, 1 = object, 255 = ignore."""
    meaningless = label[(label >= 10) & (label < 20)].unique().tolist()
    if meaningless:
        expected = "0 (invalid), 1 to 9 (table) or at least 20 (objects)"
        raise LabelError(path, expected, meaningless)
    return torch.where(label == 0, IGNORE, (label >= 20).long())
