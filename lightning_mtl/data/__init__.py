"""Data sets and data modules of dense scenes, and transforms that respect their geometry."""

from lightning_mtl.data.collate import collate

__all__ = ["collate"]
