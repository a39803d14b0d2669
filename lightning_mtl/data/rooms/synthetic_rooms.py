"""Furnished rooms, rendered on demand: the data set that needs no files."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from numpy.random import PCG64, Generator
from torch import Tensor
from torch.utils.data import Dataset

from lightning_mtl.checks import check_choice, check_number
from lightning_mtl.data.datamodule import DeclaredDataModule
from lightning_mtl.data.reading.files import check_tasks
from lightning_mtl.data.reading.splits import SPLITS, Split
from lightning_mtl.data.rooms.rendering import CLASSES, KEYPOINTS, RENDERERS, render
from lightning_mtl.data.rooms.scene import Camera, Scene
from lightning_mtl.data.rooms.scene_sampling import sample_scene


class SyntheticRooms(Dataset[dict[str, Tensor]]):
    """Indoor rooms with boxes and spheres, ray cast from geometry, whose labels agree exactly.

    A frame is a function of the seed and its index alone: the same in every process and in any
    order. Nothing is read, downloaded or kept. Colours and textures are drawn alike for all
    surfaces, so a class is told by shape, shading and place, not by colour.

    A sample holds the image and the entries of `tasks`; every pixel is valid:

    * `"image"`, float32 (3, H, W) in [0, 1];
    * `"segmentation"`, int64 (H, W), an index of `CLASSES`;
    * `"depth"`, float32 (1, H, W), metres along the optical axis;
    * `"normals"`, float32 (3, H, W), unit vectors in camera coordinates that face the camera;
    * `"edges"`, float32 (H, W), 1 on the boundaries of objects and the creases of the room;
    * `"keypoints"`, float32 (4, H, W) in [0, 1], a heatmap for each of `KEYPOINTS`.

    Args:
        length: number of frames.
        size: height and width of a frame in pixels.
        seed: another seed gives other rooms.
        tasks: labels to render; others cost nothing.
        num_objects: the smallest and the largest number of objects in a room.
        noise: standard deviation of the sensor noise of the image, whose range is [0, 1].

    Raises:
        ValueError: if an argument is out of range or a task is not known.

    Example:
        >>> sample = SyntheticRooms(length=8, size=(48, 64))[3]
        >>> sample["depth"].shape
        torch.Size([1, 48, 64])
    """

    CLASSES = CLASSES
    KEYPOINTS = KEYPOINTS
    TASKS = tuple(name for name in RENDERERS if name != "image")

    def __init__(
        self,
        length: int,
        size: tuple[int, int] = (96, 128),
        seed: int = 0,
        tasks: Sequence[str] = ("segmentation", "depth", "normals"),
        num_objects: tuple[int, int] = (3, 7),
        noise: float = 0.02,
    ) -> None:
        check_number("SyntheticRooms", "length", length, 1)
        check_number("SyntheticRooms", "seed", seed, 0)
        check_number("SyntheticRooms", "noise", noise, 0)
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"`size` should be two positive numbers. Found {size}.")
        if not 1 <= num_objects[0] <= num_objects[1]:
            raise ValueError(f"`num_objects` should be 1 <= low <= high. Found {num_objects}.")
        self.length = length
        self.size = (size[0], size[1])
        self.seed = seed
        self.tasks = check_tasks(tasks, self.TASKS)
        self.num_objects = num_objects
        self.noise = noise

    def __len__(self) -> int:
        """The number of frames of the data set."""
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Render the frame of an index, with its labels."""
        frame = render(*self.sample(index), self.size, ("image", *self.tasks))
        if self.noise > 0:
            frame["image"] = self._expose(frame["image"], index)
        return {name: torch.from_numpy(values) for name, values in frame.items()}

    def sample(self, index: int) -> tuple[Scene, Camera]:
        """The scene and the camera of a frame, to render it again or transformed."""
        if not 0 <= index < self.length:
            raise IndexError(f"`index` should be from 0 to {self.length - 1}. Found {index}.")
        return sample_scene(Generator(PCG64([self.seed, index, 0])), self.size, self.num_objects)

    def scene(self, index: int) -> Scene:
        """The scene of the frame of an index."""
        return self.sample(index)[0]

    def camera(self, index: int) -> Camera:
        """The camera of the frame of an index, with the method `intrinsics(size)`."""
        return self.sample(index)[1]

    def _expose(self, image: np.ndarray, index: int) -> np.ndarray:
        """The image with sensor noise, which comes from a generator of its own."""
        rng = Generator(PCG64([self.seed, index, 1]))
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        return np.clip(image + np.float32(self.noise) * noise, 0, 1)


@dataclass(eq=False)
class RoomsDataModule(DeclaredDataModule):
    """Rendered rooms (`SyntheticRooms`), a different seed per split; needs no file.

    Args:
        size: height and width.
        train_length: number of training frames.
        val_length: number of validation frames.
        test_length: number of test frames.
        seed: equal seeds give equal frames; no two splits share one.
        tasks: entries of a sample besides the image.
    """

    CLASSES = CLASSES

    size: tuple[int, int] = (96, 128)
    train_length: int = 1024
    val_length: int = 128
    test_length: int = 128
    seed: int = 0
    tasks: Sequence[str] = ("segmentation", "depth", "normals")
    _: KW_ONLY
    batch_size: int = 16

    def dataset(self, split: Split) -> SyntheticRooms:
        """Rooms with the length and the seed of the split."""
        check_choice("RoomsDataModule", "split", split, SPLITS)
        lengths = (self.train_length, self.val_length, self.test_length)
        place = SPLITS.index(split)
        seed = len(lengths) * self.seed + place
        return SyntheticRooms(lengths[place], size=self.size, seed=seed, tasks=self.tasks)
