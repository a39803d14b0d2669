"""NYUv2 in the layout of the multi-task survey (Vandenhende et al., TPAMI 2021), NYUD_MT."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from lightning_mtl.checks import check_choice
from lightning_mtl.data.augmentation.transforms import Sample, Transform
from lightning_mtl.data.datamodule import OfficialSplitsDataModule
from lightning_mtl.data.datasets.nyuv2_classes import table_of_40
from lightning_mtl.data.reading.files import (
    Source,
    check_tasks,
    finishing,
    look_up,
    read_array,
    read_image,
    read_pixels,
)
from lightning_mtl.data.reading.normal_axes import NormalAxes, camera_normals, check_facing
from lightning_mtl.data.reading.splits import SPLITS, Split, train_or_val

SOURCE = Source(
    name="NYUD_MT",
    layout="""root/gt_sets/{train,val}.txt       names of the frames, one per line
root/images/<name>.jpg             480 x 640, 8 bit
root/segmentation/<name>.png       480 x 640, 8 bit, 0 = ignore, 1 to 40
root/depth/<name>.npy              480 x 640, metres, 0 = invalid
root/normals/<name>.npy            480 x 640 x 3, from -1 to 1, 0 = invalid
root/edge/<name>.npy               480 x 640, 0 or 1""",
    how_to_get=(
        "The README of the GitHub repository SimonVandenhende/Multi-Task-Learning-PyTorch links "
        "NYUD_MT.tgz; the archive of the same name for facebookresearch/astmt has another layout."
    ),
)
FOLDERS = {
    "image": ("images", "jpg"),
    "segmentation": ("segmentation", "png"),
    "depth": ("depth", "npy"),
    "normals": ("normals", "npy"),
    "edges": ("edge", "npy"),
}


class NYUDMT(Dataset[Sample]):
    """795 frames to train, 654 to validate and test: segmentation, depth, normals and edges.

    Args:
        root: folder of the data; by default the environment variable `LIGHTNING_MTL_NYUD_MT`.
        split: `"test"` is the list `val` as well, since there is no other.
        num_classes: 40, as in the survey, or 13.
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

    TASKS: ClassVar[tuple[str, ...]] = ("segmentation", "depth", "normals", "edges")

    def __init__(
        self,
        root: str | Path | None = None,
        split: Split = "train",
        num_classes: int = 40,
        size: tuple[int, int] | None = None,
        tasks: Sequence[str] = ("segmentation", "depth"),
        normal_axes: NormalAxes = "right_down_forward",
        transform: Transform | None = None,
    ) -> None:
        check_choice("NYUDMT", "split", split, SPLITS)
        self.tasks = check_tasks(tasks, self.TASKS)
        self.root = SOURCE.root(root)
        self.names = SOURCE.names(self.root / "gt_sets" / f"{train_or_val(split)}.txt")
        self.table = table_of_40(num_classes, first=1, ignored=0)
        self.normal_axes = normal_axes
        self._finish = finishing(size, transform)
        for name in self.names:
            for entry in ("image", *self.tasks):
                SOURCE.existing(self._path(entry, name))
        if "normals" in self.tasks:
            read = partial(self._read, "normals")
            check_facing(self.names, read, self.root / "normals", normal_axes)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """The frame as image and one entry per task."""
        name = self.names[index]
        return self._finish({entry: self._read(entry, name) for entry in ("image", *self.tasks)})

    def _path(self, entry: str, name: str) -> Path:
        folder, suffix = FOLDERS[entry]
        return self.root / folder / f"{name}.{suffix}"

    def _read(self, entry: str, name: str) -> Tensor:
        path = self._path(entry, name)
        if entry == "image":
            return read_image(path, (480, 640))
        if entry == "segmentation":
            labels = read_pixels(path, "labels", (480, 640))
            return look_up(labels, self.table, path, "0 (ignored) or 1 to 40")
        if entry == "normals":
            vectors = read_array(path, "normals", (480, 640, 3), (-1.05, 1.05))
            return camera_normals(vectors.permute(2, 0, 1), self.normal_axes)
        if entry == "depth":
            return read_array(path, "depth", (480, 640), (0, 100))[None]
        return _binary(read_array(path, "edges", (480, 640), (0, 1), "fiub"))


@dataclass(kw_only=True, eq=False)
class NYUDMTDataModule(OfficialSplitsDataModule):
    """NYUv2 in the layout of the survey (`NYUDMT`): 480 x 640, 40 classes.

    There is no other validation split than the test split.

    Args:
        root: folder of the data; by default the environment variable `LIGHTNING_MTL_NYUD_MT`.
        num_classes: 40 or 13.
        tasks: entries of a sample besides the image, among `NYUDMT.TASKS`.
        normal_axes: what the channels of the normals point at.
    """

    num_classes: int = 40
    tasks: Sequence[str] = ("segmentation", "depth")
    normal_axes: NormalAxes = "right_down_forward"

    def dataset(self, split: Split) -> NYUDMT:
        """The frames of the split, augmented only for training."""
        return NYUDMT(
            self.root,
            split,
            self.num_classes,
            self.size,
            self.tasks,
            self.normal_axes,
            self.transform(split),
        )


def _binary(values: Float[Tensor, "H W"]) -> Float[Tensor, "H W"]:
    return (values > 0.5).to(values)
