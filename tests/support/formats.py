"""The data sets on disk, what a test writes for each of them, and what is in it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.utils.data import Dataset

from lightning_mtl.data import (
    BSDS500,
    MOSD,
    NYUDMT,
    CelebA,
    Cityscapes,
    CityscapesArrays,
    MultiMNIST,
    NYUv2,
    NYUv2Arrays,
    NYUv2Frames,
    PASCALContext,
)
from tests.support import layouts


@dataclass
class Format:
    """A data set, the folder that a test writes for it, and what is in that folder.

    Attributes:
        dataset: The class.
        write: Writes the folder.
        variable: Environment variable of the folder.
        entries: Shape and dtype of the entries of a sample.
        files: Of the frame at index 1 of the training split.
        labels: A file of `files` with class labels, and a label without a meaning.
        listed: Path that an empty split leaves empty; a folder or a list.
    """

    dataset: Callable[..., Dataset]
    write: Callable[[Path], None]
    variable: str
    entries: dict[str, tuple[tuple[int, ...], torch.dtype]]
    files: tuple[str, ...]
    listed: str
    labels: tuple[str, int] | None = None
    options: dict[str, object] = field(default_factory=dict)

    def make(self, root: Path | None, **options: object) -> Dataset:
        return self.dataset(root, **{**self.options, **options})


def image(height: int, width: int) -> tuple[tuple[int, ...], torch.dtype]:
    return (3, height, width), torch.float32


def scene(height: int, width: int) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    return {
        "image": image(height, width),
        "segmentation": ((height, width), torch.int64),
        "depth": ((1, height, width), torch.float32),
        "normals": image(height, width),
    }


def flat(height: int, width: int) -> tuple[tuple[int, ...], torch.dtype]:
    return (height, width), torch.float32


CLASS = ((), torch.int64)
FORMATS = {
    "nyuv2": Format(
        NYUv2,
        layouts.nyuv2,
        "LIGHTNING_MTL_NYUV2",
        scene(480, 640),
        files=("nyu_depth_v2_labeled.mat", "splits.mat", "classMapping40.mat"),
        listed="splits.mat",
    ),
    "nyuv2_frames": Format(
        NYUv2Frames,
        layouts.nyuv2_frames,
        "LIGHTNING_MTL_NYUV2_FRAMES",
        scene(480, 640),
        files=("rgb/1.png", "depth_x5000/1.png", "label40/1.png", "normals_xzy/1.png"),
        listed="rgb",
        labels=("label40/1.png", 40),
    ),
    "nyuv2_arrays": Format(
        NYUv2Arrays,
        layouts.nyuv2_arrays,
        "LIGHTNING_MTL_NYUV2_MTAN",
        scene(288, 384),
        files=tuple(f"train/{kind}/1.npy" for kind in ("image", "label", "depth", "normal")),
        listed="train/image",
        labels=("train/label/1.npy", 13),
    ),
    "nyud": Format(
        NYUDMT,
        layouts.nyud,
        "LIGHTNING_MTL_NYUD_MT",
        {**scene(480, 640), "edges": flat(480, 640)},
        files=(
            *("images/1.jpg", "segmentation/1.png", "depth/1.npy", "normals/1.npy"),
            "edge/1.npy",
        ),
        listed="gt_sets/train.txt",
        labels=("segmentation/1.png", 41),
        options={"tasks": NYUDMT.TASKS},
    ),
    "mosd": Format(
        MOSD,
        layouts.mosd,
        "LIGHTNING_MTL_MOSD",
        {**scene(480, 640), "edges": flat(480, 640)},
        files=("rgb/1.jpg", "depth_mm/1.png", "label/1.png"),
        listed="train.txt",
        labels=("label/1.png", 12),
        options={"tasks": MOSD.TASKS, "size": (480, 640), "cache": False},
    ),
    "cityscapes": Format(
        Cityscapes,
        layouts.cityscapes,
        "LIGHTNING_MTL_CITYSCAPES",
        {
            "image": image(64, 128),
            "segmentation": ((64, 128), torch.int64),
            "disparity": ((1, 64, 128), torch.float32),
            "depth": ((1, 64, 128), torch.float32),
        },
        files=(
            "leftImg8bit/train/ulm/ulm_000001_leftImg8bit.png",
            "gtFine/train/ulm/ulm_000001_gtFine_labelIds.png",
            "disparity/train/ulm/ulm_000001_disparity.png",
            "camera/train/ulm/ulm_000001_camera.json",
        ),
        listed="leftImg8bit/train",
        labels=("gtFine/train/ulm/ulm_000001_gtFine_labelIds.png", 34),
        options={"tasks": Cityscapes.TASKS},
    ),
    "cityscapes_arrays": Format(
        CityscapesArrays,
        layouts.cityscapes_arrays,
        "LIGHTNING_MTL_CITYSCAPES_MTAN",
        {
            "image": image(128, 256),
            "segmentation": ((128, 256), torch.int64),
            "disparity": ((1, 128, 256), torch.float32),
        },
        files=tuple(f"train/{kind}/1.npy" for kind in ("image", "label_7", "depth")),
        listed="train/image",
        labels=("train/label_7/1.npy", 7),
    ),
    "pascal": Format(
        PASCALContext,
        layouts.pascal,
        "LIGHTNING_MTL_PASCAL_MT",
        {
            "image": image(40, 60),
            "segmentation": ((40, 60), torch.int64),
            "human_parts": ((40, 60), torch.int64),
            "saliency": flat(40, 60),
            "edges": flat(40, 60),
            "normals": image(40, 60),
        },
        files=(
            *("JPEGImages/1.jpg", "semseg/VOC12/1.png", "human_parts/1.mat"),
            *("sal_distill/1.png", "normals_distill/1.png", "pascal-context/trainval/1.mat"),
        ),
        listed="ImageSets/Context/train.txt",
        labels=("semseg/VOC12/1.png", 21),
        options={"size": None},
    ),
    "bsds": Format(
        BSDS500,
        layouts.bsds,
        "LIGHTNING_MTL_BSDS500",
        {
            "image": image(32, 48),
            "edges": flat(32, 48),
            "annotators": ((3, 32, 48), torch.float32),
        },
        files=("images/train/1.jpg", "groundTruth/train/1.mat"),
        listed="images/train",
    ),
    "celeba": Format(
        CelebA,
        layouts.celeba,
        "LIGHTNING_MTL_CELEBA",
        {"image": image(64, 64), "attributes": ((40,), torch.float32)},
        files=(
            "img_align_celeba/000002.jpg",
            "list_attr_celeba.txt",
            "list_eval_partition.txt",
        ),
        listed="list_eval_partition.txt",
    ),
    "multimnist": Format(
        MultiMNIST,
        layouts.mnist,
        "LIGHTNING_MTL_MNIST",
        {"image": image(36, 36), "left": CLASS, "right": CLASS},
        files=(
            "MNIST/raw/t10k-images-idx3-ubyte.gz",
            "MNIST/raw/t10k-labels-idx1-ubyte.gz",
        ),
        listed="MNIST/raw/t10k-labels-idx1-ubyte.gz",
        options={"digits": "t10k"},
    ),
}
FILES = [(name, file) for name, form in FORMATS.items() for file in form.files]


def read_all(form: Format, root: Path) -> None:
    dataset = form.make(root)
    for index in range(len(dataset)):
        dataset[index]
