"""Cityscapes in its official folders: streets, 2048 x 1024, with semantic labels and disparity."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets import Cityscapes as Definition

from lightning_mtl.checks import check_choice
from lightning_mtl.data.augmentation.transforms import Sample, Transform
from lightning_mtl.data.datamodule import OfficialSplitsDataModule
from lightning_mtl.data.reading.errors import CorruptFileError
from lightning_mtl.data.reading.files import (
    IGNORE,
    UNREADABLE,
    Source,
    check_tasks,
    finishing,
    is_hidden,
    look_up,
    read_image,
    read_pixels,
)
from lightning_mtl.data.reading.splits import SPLITS, Split, train_or_val

SOURCE = Source(
    name="CITYSCAPES",
    layout="""root/leftImg8bit/{train,val}/<city>/<frame>_leftImg8bit.png  8 bit
root/gtFine/{train,val}/<city>/<frame>_gtFine_labelIds.png   8 bit, 0 to 33
root/disparity/{train,val}/<city>/<frame>_disparity.png      16 bit, 256 d + 1, 0 = invalid
root/camera/{train,val}/<city>/<frame>_camera.json           extrinsic.baseline, intrinsic.fx""",
    how_to_get=(
        "Register at cityscapes-dataset.com and unpack leftImg8bit_trainvaltest.zip, "
        "gtFine_trainvaltest.zip, disparity_trainvaltest.zip and, for depth, "
        "camera_trainvaltest.zip."
    ),
)
SUFFIXES = {
    "image": ("leftImg8bit", "leftImg8bit.png"),
    "segmentation": ("gtFine", "gtFine_labelIds.png"),
    "disparity": ("disparity", "disparity.png"),
    "camera": ("camera", "camera.json"),
}
NEEDED = {
    "segmentation": ("segmentation",),
    "disparity": ("disparity",),
    "depth": ("disparity", "camera"),
}


class Cityscapes(Dataset[Sample]):
    """2975 frames to train and 500 to validate and test; 19 classes, or 7 categories of them.

    Cordts et al., CVPR 2016. The disparity is in pixels of the pictures 2048 wide, whatever `size`
    is; the depth, baseline · f_x / disparity with the calibration of each frame, is in metres.

    Args:
        root: folder of the data; by default the environment variable `LIGHTNING_MTL_CITYSCAPES`.
        split: `"test"` is the validation split as well, since labels of the test split are secret.
        num_classes: 19, or 7: flat, construction, object, nature, sky, human, vehicle.
        size: height and width of the samples; by default as on disk.
        tasks: entries of a sample besides the image, any of `TASKS`.
        transform: applied to a sample whenever it is read.

    Raises:
        DatasetNotFoundError: if a file of a task is missing.
        CorruptFileError: if a file is not what it should be.
        LabelError: if a label is not one of the 34.
    """

    TASKS: ClassVar[tuple[str, ...]] = ("segmentation", "disparity", "depth")

    def __init__(
        self,
        root: str | Path | None = None,
        split: Split = "train",
        num_classes: int = 19,
        size: tuple[int, int] | None = None,
        tasks: Sequence[str] = ("segmentation", "disparity"),
        transform: Transform | None = None,
    ) -> None:
        check_choice("Cityscapes", "split", split, SPLITS)
        self.tasks = check_tasks(tasks, self.TASKS)
        self.root = SOURCE.root(root)
        self.split = train_or_val(split)
        self.table = _table(num_classes)
        self._finish = finishing(size, transform)
        folder = SOURCE.existing(self.root / "leftImg8bit" / self.split)
        pattern = f"*/*_{SUFFIXES['image'][1]}"
        files = (path for path in folder.glob(pattern) if not is_hidden(path))
        self.frames = sorted(_frame(path) for path in files)
        if not self.frames:
            SOURCE.existing(folder / pattern)
        for frame in self.frames:
            for kind in {kind for task in self.tasks for kind in NEEDED[task]}:
                SOURCE.existing(self._path(kind, frame))

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        """The frame as image and one entry per task."""
        frame = self.frames[index]
        sample = {"image": read_image(self._path("image", frame))}
        size = sample["image"].shape[-2:]
        if "segmentation" in self.tasks:
            path = self._path("segmentation", frame)
            labels = read_pixels(path, "labels", size)
            sample["segmentation"] = look_up(labels, self.table, path, "0 to 33")
        if {"disparity", "depth"} & set(self.tasks):
            path = self._path("disparity", frame)
            pixels = read_pixels(path, "disparity", size, (np.uint16, np.int32))
            sample["disparity"] = ((pixels[None].float() - 1) / 256).clamp_min(0)
        if "depth" in self.tasks:
            factor = _baseline_focal(self._path("camera", frame))
            sample["depth"] = _reciprocal(sample["disparity"]) * factor
        return self._finish({name: sample[name] for name in ("image", *self.tasks)})

    def _path(self, kind: str, frame: tuple[str, str]) -> Path:
        folder, suffix = SUFFIXES[kind]
        city, name = frame
        return self.root / folder / self.split / city / f"{name}_{suffix}"


@dataclass(kw_only=True, eq=False)
class CityscapesDataModule(OfficialSplitsDataModule):
    """The official folders of Cityscapes (`Cityscapes`): 2975 frames to train, 500 to validate.

    Tests run on the validation split, since labels of the test split are secret.

    Args:
        root: folder of the data; by default the environment variable `LIGHTNING_MTL_CITYSCAPES`.
        num_classes: 19 or 7.
        tasks: entries of a sample besides the image, among `Cityscapes.TASKS`.
    """

    num_classes: int = 19
    size: tuple[int, int] | None = (256, 512)
    tasks: Sequence[str] = ("segmentation", "disparity")

    def dataset(self, split: Split) -> Cityscapes:
        """The frames of the split, augmented only for training."""
        return Cityscapes(
            self.root, split, self.num_classes, self.size, self.tasks, self.transform(split)
        )


def _frame(path: Path) -> tuple[str, str]:
    """The city and the name of the frame that a picture shows."""
    return path.parent.name, path.name.removesuffix(f"_{SUFFIXES['image'][1]}")


def _table(num_classes: int) -> Int64[Tensor, " 34"]:
    """Class of each official label; those that the benchmark does not evaluate are ignored."""
    if num_classes not in (7, 19):
        raise ValueError(f"`num_classes` should be 7 or 19. Found {num_classes}.")
    table = torch.full((34,), IGNORE)
    for label in Definition.classes:
        if not label.ignore_in_eval:
            table[label.id] = label.train_id if num_classes == 19 else label.category_id - 1
    return table


def _reciprocal(values: Float[Tensor, "1 H W"]) -> Float[Tensor, "1 H W"]:
    return torch.where(values > 0, 1 / values.clamp_min(torch.finfo(values.dtype).tiny), 0)


def _baseline_focal(path: Path) -> float:
    """The baseline times the focal length, in metres times pixels."""
    expected = "positive extrinsic.baseline and intrinsic.fx"
    try:
        camera = json.loads(path.read_text(encoding="utf-8"))
        factor = float(camera["extrinsic"]["baseline"]) * float(camera["intrinsic"]["fx"])
    except UNREADABLE as error:
        raise CorruptFileError(path, "calibration", expected, repr(error)) from error
    if not 0 < factor < float("inf"):
        raise CorruptFileError(path, "calibration", expected, f"the product {factor}")
    return factor
