"""NYUv2 frames as pictures, each with whatever labels it has: extra frames of the videos."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from lightning_mtl.data.augmentation.transforms import Sample, Transform
from lightning_mtl.data.datasets.nyuv2_classes import table_of_40
from lightning_mtl.data.geometry import normals_from_depth
from lightning_mtl.data.reading.files import (
    IGNORE,
    Source,
    check_tasks,
    finishing,
    look_up,
    read_image,
    read_pixels,
)
from lightning_mtl.data.reading.normal_axes import read_normals

FRAME_SIZE = (480, 640)
INTRINSICS = ((518.857901, 0.0, 325.582449), (0.0, 519.469611, 253.736166), (0.0, 0.0, 1.0))
SOURCE = Source(
    name="NYUV2_FRAMES",
    layout="""root/rgb/<name>.png          480 x 640, 8 bit
root/depth_x5000/<name>.png  480 x 640, 16 bit, metres = value / 5000, 0 = invalid; optional
root/label40/<name>.png      480 x 640, 8 bit, 0 to 39, 255 = ignore; optional
root/normals_xzy/<name>.png  480 x 640, 8 bit, 127.5 (n + 1), channels right, forward, up; optional
Any frame may lack any of the three.""",
    how_to_get=(
        "Write registered frames of the raw videos (NYU Depth V2 page of Nathan Silberman) in this "
        "layout."
    ),
)
FOLDERS = {"segmentation": "label40", "depth": "depth_x5000", "normals": "normals_xzy"}


class NYUv2Frames(Dataset[Sample]):
    """Frames that need not have a label for every task; a sample lacks what its frame lacks.

    Where a frame has depth but no normals, normals are computed from the depth, as in `NYUv2`.

    Args:
        root: folder of the data; by default the environment variable `LIGHTNING_MTL_NYUV2_FRAMES`.
        num_classes: 40 or 13.
        size: height and width of the samples; by default as on disk.
        tasks: entries of a sample besides the image, any of `TASKS`.
        transform: applied to a sample whenever it is read.

    Raises:
        DatasetNotFoundError: if there is no picture, or none of the frames has a label for a task.
        CorruptFileError: if a file is not what it should be.
        LabelError: if a label is no class.
    """

    TASKS: ClassVar[tuple[str, ...]] = ("segmentation", "depth", "normals")

    def __init__(
        self,
        root: str | Path | None = None,
        num_classes: int = 40,
        size: tuple[int, int] | None = None,
        tasks: Sequence[str] = ("segmentation", "depth", "normals"),
        transform: Transform | None = None,
    ) -> None:
        self.tasks = check_tasks(tasks, self.TASKS)
        self.root = SOURCE.root(root)
        self.names = SOURCE.stems(self.root / "rgb", ".png")
        self.table = table_of_40(num_classes, first=0, ignored=IGNORE)
        self.intrinsics = torch.tensor(INTRINSICS)
        self._finish = finishing(size, transform)
        for task in self.tasks:
            if not any(self._has(task, name) for name in self.names):
                SOURCE.existing(self.root / FOLDERS[task] / "<name>.png")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """The frame as image and one entry per task that it has a label for."""
        name = self.names[index]
        sample = {"image": read_image(self.root / "rgb" / f"{name}.png", FRAME_SIZE)}
        for task in self.tasks:
            if self._has(task, name):
                sample[task] = self._read(task, name)
        return self._finish(sample)

    def _has(self, task: str, name: str) -> bool:
        folders = ["normals_xzy", "depth_x5000"] if task == "normals" else [FOLDERS[task]]
        return any((self.root / folder / f"{name}.png").exists() for folder in folders)

    def _read(self, task: str, name: str) -> Tensor:
        path = self.root / FOLDERS[task] / f"{name}.png"
        if task == "segmentation":
            labels = read_pixels(path, "labels", FRAME_SIZE)
            return look_up(labels, self.table, path, "0 to 39 or 255 (ignored)")
        if task == "depth":
            return self._read_depth(path)
        if not path.exists():
            depth = self._read_depth(self.root / FOLDERS["depth"] / f"{name}.png")
            return normals_from_depth(depth, self.intrinsics, window=11)
        return read_normals(path, FRAME_SIZE, "right_forward_up")

    def _read_depth(self, path: Path) -> Float[Tensor, "1 H W"]:
        pixels = read_pixels(path, "depth", FRAME_SIZE, (np.uint16, np.int32))
        return pixels[None].float() / 5000
