"""Data sets and data modules of dense scenes, and transforms that respect their geometry."""

from lightning_mtl.data.augmentation.transforms import (
    ColorJitter,
    Compose,
    RandomHorizontalFlip,
    RandomRotation,
    RandomZoom,
    Resize,
)
from lightning_mtl.data.collate import collate
from lightning_mtl.data.datamodule import MultiTaskDataModule
from lightning_mtl.data.datasets.bsds import BSDS500, BSDS500DataModule
from lightning_mtl.data.datasets.celeba import CelebA, CelebADataModule
from lightning_mtl.data.datasets.cityscapes import Cityscapes, CityscapesDataModule
from lightning_mtl.data.datasets.mosd import MOSD, MOSDDataModule
from lightning_mtl.data.datasets.mtan import (
    CityscapesArrays,
    CityscapesArraysDataModule,
    NYUv2Arrays,
    NYUv2ArraysDataModule,
)
from lightning_mtl.data.datasets.multimnist import MultiMNIST, MultiMNISTDataModule
from lightning_mtl.data.datasets.nyud import NYUDMT, NYUDMTDataModule
from lightning_mtl.data.datasets.nyuv2 import NYUv2, NYUv2DataModule
from lightning_mtl.data.datasets.nyuv2_frames import NYUv2Frames
from lightning_mtl.data.datasets.pascal import PASCALContext, PASCALContextDataModule
from lightning_mtl.data.folders import FoldersDataModule, LabelledImages
from lightning_mtl.data.geometry import backproject, normals_from_depth
from lightning_mtl.data.mixture.mixture_loader import MixtureLoader
from lightning_mtl.data.mixture.mixture_sampler import MixtureSampler
from lightning_mtl.data.mixture.shares import temperature_weights
from lightning_mtl.data.mixture.task_datasets import TaskDatasets, collate_tasks
from lightning_mtl.data.photos import Photos, collate_photos
from lightning_mtl.data.reading.errors import (
    CorruptFileError,
    DatasetNotFoundError,
    LabelError,
    LabelFileError,
)
from lightning_mtl.data.rooms.synthetic_rooms import RoomsDataModule, SyntheticRooms

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
    "FoldersDataModule",
    "LabelError",
    "LabelFileError",
    "LabelledImages",
    "MOSDDataModule",
    "MixtureLoader",
    "MixtureSampler",
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
    "Photos",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomZoom",
    "Resize",
    "RoomsDataModule",
    "SyntheticRooms",
    "TaskDatasets",
    "backproject",
    "collate",
    "collate_photos",
    "collate_tasks",
    "normals_from_depth",
    "temperature_weights",
]
