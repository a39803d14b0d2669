"""Data sets and data modules of dense scenes, and transforms that respect their geometry."""

from lightning_mtl.data.augmentation.transforms import (
    ColorJitter,
    Compose,
    RandomHorizontalFlip,
    RandomRotation,
    RandomZoom,
    Resize,
)
from lightning_mtl.data.bsds_datamodule import BSDS500DataModule
from lightning_mtl.data.celeba_datamodule import CelebADataModule
from lightning_mtl.data.cityscapes_datamodules import (
    CityscapesArraysDataModule,
    CityscapesDataModule,
)
from lightning_mtl.data.collate import collate
from lightning_mtl.data.datamodule import MOSDDataModule, MultiTaskDataModule, RoomsDataModule
from lightning_mtl.data.datasets.bsds import BSDS500
from lightning_mtl.data.datasets.celeba import CelebA
from lightning_mtl.data.datasets.cityscapes import Cityscapes
from lightning_mtl.data.datasets.mosd import MOSD
from lightning_mtl.data.datasets.mtan import CityscapesArrays, NYUv2Arrays
from lightning_mtl.data.datasets.multimnist import MultiMNIST
from lightning_mtl.data.datasets.nyud import NYUDMT
from lightning_mtl.data.datasets.nyuv2 import NYUv2
from lightning_mtl.data.datasets.nyuv2_frames import NYUv2Frames
from lightning_mtl.data.datasets.pascal import PASCALContext
from lightning_mtl.data.geometry import backproject, normals_from_depth
from lightning_mtl.data.multimnist_datamodule import MultiMNISTDataModule
from lightning_mtl.data.nyuv2_datamodules import (
    NYUDMTDataModule,
    NYUv2ArraysDataModule,
    NYUv2DataModule,
)
from lightning_mtl.data.pascal_datamodule import PASCALContextDataModule
from lightning_mtl.data.reading.errors import CorruptFileError, DatasetNotFoundError, LabelError
from lightning_mtl.data.rooms.synthetic_rooms import SyntheticRooms

__all__ = [
    "BSDS500",
    "MOSD",
    "NYUDMT",
    "BSDS500DataModule",
    "CelebA",
    "CelebADataModule",
    "Cityscapes",
    "CityscapesArrays",
    "CityscapesArraysDataModule",
    "CityscapesDataModule",
    "ColorJitter",
    "Compose",
    "CorruptFileError",
    "DatasetNotFoundError",
    "LabelError",
    "MOSDDataModule",
    "MultiMNIST",
    "MultiMNISTDataModule",
    "MultiTaskDataModule",
    "NYUDMTDataModule",
    "NYUv2",
    "NYUv2Arrays",
    "NYUv2ArraysDataModule",
    "NYUv2DataModule",
    "NYUv2Frames",
    "PASCALContext",
    "PASCALContextDataModule",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomZoom",
    "Resize",
    "RoomsDataModule",
    "SyntheticRooms",
    "backproject",
    "collate",
    "normals_from_depth",
]
