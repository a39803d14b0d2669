"""Data sets and data modules of dense scenes, and transforms that respect their geometry."""

from lightning_mtl.data.collate import collate
from lightning_mtl.data.datamodule import MOSDDataModule, MultiTaskDataModule, RoomsDataModule
from lightning_mtl.data.errors import CorruptFileError, DatasetNotFoundError, LabelError
from lightning_mtl.data.geometry import backproject, normals_from_depth
from lightning_mtl.data.mosd import MOSD
from lightning_mtl.data.rooms import SyntheticRooms
from lightning_mtl.data.transforms import (
    ColorJitter,
    Compose,
    RandomHorizontalFlip,
    RandomRotation,
    RandomZoom,
    Resize,
)

__all__ = [
    "MOSD",
    "ColorJitter",
    "Compose",
    "CorruptFileError",
    "DatasetNotFoundError",
    "LabelError",
    "MOSDDataModule",
    "MultiTaskDataModule",
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
