"""PASCAL-Context with five tasks, in the layout of ASTMT and of the multi-task survey."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils.data import Dataset

from lightning_mtl.checks import check_choice
from lightning_mtl.data.augmentation.transforms import (
    RandomHorizontalFlip,
    RandomRotation,
    RandomZoom,
    Sample,
    Transform,
)
from lightning_mtl.data.datamodule import OfficialSplitsDataModule
from lightning_mtl.data.datasets.human_parts import PARTS, read_human_parts
from lightning_mtl.data.datasets.pascal_classes import INDOOR, VOC
from lightning_mtl.data.reading.errors import CorruptFileError
from lightning_mtl.data.reading.files import (
    Source,
    check_tasks,
    finishing,
    identity_table,
    look_up,
    read_image,
    read_mat,
    read_pixels,
)
from lightning_mtl.data.reading.normal_axes import NormalAxes, check_facing, read_normals
from lightning_mtl.data.reading.splits import SPLITS, Split, train_or_val
from lightning_mtl.metrics.edges.thinning import thin

SOURCE = Source(
    name="PASCAL_MT",
    layout="""root/ImageSets/Context/{train,val}.txt     names of the images, one per line
root/JPEGImages/<name>.jpg
root/semseg/VOC12/<name>.png                or, for the other images:
root/semseg/pascal-context/<name>.png       0 to 20, 255 = ignore
root/human_parts/<name>.mat                 PASCAL-Part annotation
root/pascal-context/trainval/<name>.mat     LabelMap, 459 classes; for edges and normals
root/normals_distill/<name>.png             8 bit RGB, 127.5 (n + 1)
root/sal_distill/<name>.png                 8 bit""",
    how_to_get=(
        "The README of the GitHub repository SimonVandenhende/Multi-Task-Learning-PyTorch links "
        "PASCAL_MT.tgz."
    ),
)
PATHS = {
    "image": ("JPEGImages/{}.jpg",),
    "segmentation": ("semseg/VOC12/{}.png", "semseg/pascal-context/{}.png"),
    "human_parts": ("human_parts/{}.mat",),
    "context": ("pascal-context/trainval/{}.mat",),
    "normals": ("normals_distill/{}.png",),
    "saliency": ("sal_distill/{}.png",),
}
NEEDED = {
    "segmentation": ("segmentation",),
    "human_parts": ("human_parts",),
    "saliency": ("saliency",),
    "edges": ("context",),
    "normals": ("normals", "context"),
}


class PASCALContext(Dataset[Sample]):
    """4998 images to train and 5105 to validate and test, with up to five labels each.

    Mottaghi et al., CVPR 2014; tasks of Maninis et al., CVPR 2019. Saliency and normals are
    distilled from networks; normals count only where the class of the pixel is also one of NYUv2.
    Edges are where the 459 classes meet, thinned. An image without people has no
    `human_parts`.

    Args:
        root: folder of the data; by default the environment variable `LIGHTNING_MTL_PASCAL_MT`.
        split: `"test"` is the list `val` as well, since there is no other.
        size: height and width of the samples; `None` keeps those of the file, which differ.
        tasks: entries of a sample besides the image, any of `TASKS`.
        normal_axes: what the channels of the normals point at; checked on a few images.
        transform: applied to a sample whenever it is read.

    Raises:
        DatasetNotFoundError: if a file of a task is missing.
        CorruptFileError: if a file is not what it should be.
        LabelError: if a label is no class.
        ValueError: if the normals do not face the camera.
    """

    CLASSES: ClassVar[tuple[str, ...]] = VOC
    PARTS: ClassVar[tuple[str, ...]] = PARTS
    TASKS: ClassVar[tuple[str, ...]] = tuple(NEEDED)

    def __init__(
        self,
        root: str | Path | None = None,
        split: Split = "train",
        size: tuple[int, int] | None = (512, 512),
        tasks: Sequence[str] = ("segmentation", "human_parts", "saliency", "edges", "normals"),
        normal_axes: NormalAxes = "right_down_forward",
        transform: Transform | None = None,
    ) -> None:
        check_choice("PASCALContext", "split", split, SPLITS)
        self.tasks = check_tasks(tasks, self.TASKS)
        self.root = SOURCE.root(root)
        lists = self.root / "ImageSets" / "Context"
        self.names = SOURCE.names(lists / f"{train_or_val(split)}.txt")
        self.normal_axes = normal_axes
        self.table = identity_table(len(VOC))
        self._finish = finishing(size, transform)
        for name in self.names:
            for kind in {"image"}.union(*(NEEDED[task] for task in self.tasks)):
                self._path(kind, name)
        if "normals" in self.tasks:
            check_facing(
                self.names,
                lambda name: self._read_normals(name, _image_size(self._path("image", name))),
                self.root / "normals_distill",
                normal_axes,
            )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """The image and one entry per task that it has a label for."""
        name = self.names[index]
        image = read_image(self._path("image", name))
        size = (image.shape[-2], image.shape[-1])
        labels = {task: self._read(task, name, size) for task in self.tasks}
        present = {task: label for task, label in labels.items() if label is not None}
        return self._finish({"image": image, **present})

    def _path(self, kind: str, name: str) -> Path:
        paths = [self.root / pattern.format(name) for pattern in PATHS[kind]]
        return next((path for path in paths if path.exists()), None) or SOURCE.existing(paths[0])

    def _read(self, task: str, name: str, size: tuple[int, int]) -> Tensor | None:
        if task == "segmentation":
            path = self._path(task, name)
            labels = read_pixels(path, "labels", size)
            return look_up(labels, self.table, path, "0 to 20 or 255 (ignored)")
        if task == "human_parts":
            return read_human_parts(self._path(task, name), size)
        if task == "saliency":
            pixels = read_pixels(self._path(task, name), "saliency", size)
            return (pixels > 127).float()
        if task == "edges":
            return context_edges(_read_context(self._path("context", name), size))
        return self._read_normals(name, size)

    def _read_normals(self, name: str, size: tuple[int, int]) -> Float[Tensor, "3 H W"]:
        context = _read_context(self._path("context", name), size)
        normals = read_normals(self._path("normals", name), size, self.normal_axes)
        return torch.where(torch.isin(context, torch.tensor(INDOOR)), normals, 0)


@dataclass(kw_only=True, eq=False)
class PASCALContextDataModule(OfficialSplitsDataModule):
    """PASCAL-Context with five tasks (`PASCALContext`): 4998 images to train, 5105 to validate.

    There is no other validation split than the test split.

    Args:
        root: folder of the data; by default the environment variable `LIGHTNING_MTL_PASCAL_MT`.
        tasks: entries of a sample besides the image, among `PASCALContext.TASKS`.
        normal_axes: what the channels of the normals point at.
        augment: random flip, rotation (20 degrees) and zoom (0.75 to 1.25) in training; what is
            uncovered is ignored.
    """

    CLASSES = PASCALContext.CLASSES
    PARTS = PASCALContext.PARTS
    AUGMENTATION = (RandomHorizontalFlip(), RandomRotation(20.0), RandomZoom((0.75, 1.25)))

    size: tuple[int, int] | None = (512, 512)
    tasks: Sequence[str] = ("segmentation", "human_parts", "saliency", "edges", "normals")
    normal_axes: NormalAxes = "right_down_forward"

    def dataset(self, split: Split) -> PASCALContext:
        """The images of the split, augmented only for training."""
        transform = self.transform(split)
        return PASCALContext(self.root, split, self.size, self.tasks, self.normal_axes, transform)


def context_edges(context: Int64[Tensor, "H W"]) -> Float[Tensor, "H W"]:
    """Edges: pixels where the Laplacian of the class numbers is not 0, thinned to lines."""
    padded = np.pad(context.numpy(), 1, mode="reflect")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return torch.from_numpy(thin(around != 4 * padded[1:-1, 1:-1])).float()


def _read_context(path: Path, size: tuple[int, int]) -> Int64[Tensor, "H W"]:
    labels = read_mat(path, "LabelMap")
    what, expected = "field `LabelMap` of", f"class numbers {size} from 0 to 459"
    if labels.shape != size or labels.dtype.kind not in "iu":
        raise CorruptFileError(path, what, expected, f"{labels.shape} {labels.dtype}")
    if labels.min() < 0 or labels.max() > 459:
        found = f"numbers from {labels.min()} up to {labels.max()}"
        raise CorruptFileError(path, what, expected, found)
    return torch.from_numpy(labels.astype(np.int64))


def _image_size(path: Path) -> tuple[int, int]:
    height, width = read_image(path).shape[-2:]
    return height, width
