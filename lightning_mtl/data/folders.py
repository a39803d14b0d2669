"""One's own data: a folder of images, and beside it a folder of pictures for each kind of label."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import get_args

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import Dataset, Subset

from lightning_mtl.checks import check_choice, check_number
from lightning_mtl.data.augmentation.modalities import MODALITIES, Modality
from lightning_mtl.data.augmentation.transforms import (
    Compose,
    RandomHorizontalFlip,
    RandomZoom,
    Resize,
    Sample,
    Transform,
    image_size,
)
from lightning_mtl.data.datamodule import FilesDataModule
from lightning_mtl.data.reading.errors import DatasetNotFoundError
from lightning_mtl.data.reading.labels import (
    LABEL_SUFFIXES,
    LabelFormat,
    LabelWord,
    label_formats,
)
from lightning_mtl.data.reading.normal_axes import NormalAxes, check_facing
from lightning_mtl.data.reading.photos import SUFFIXES, find_files, read_photo
from lightning_mtl.data.reading.splits import SPLITS, Split

__all__ = ["FoldersDataModule", "LabelledImages"]

IMAGES = "images"


class LabelledImages(Dataset[Sample]):
    """The images of `folder/images`, and what labels the folders beside have for them.

    The files of a frame have the same name, but for the suffix. A frame need not have labels of
    every kind; one without any is left out.

    Args:
        folder: the folder that holds `images` and a folder with the name of each entry.
        formats: how the labels of each entry are stored.
        size: height and width of the samples.
        transform: applied to a sample whenever it is read.

    Raises:
        DatasetNotFoundError: if a folder is missing or empty.
        ValueError: if files do not fit together.
    """

    def __init__(
        self,
        folder: Path,
        formats: Mapping[str, LabelFormat],
        size: tuple[int, int],
        transform: Transform | None = None,
    ) -> None:
        self.folder = folder
        self.formats = formats
        layout = _layout(folder, formats)
        self.files = {IMAGES: _files(folder / IMAGES, SUFFIXES, layout)}
        for entry in formats:
            self.files[entry] = _files(folder / entry, LABEL_SUFFIXES, layout)
            _check_names(folder, entry, self.files)
        labelled = set().union(*(self.files[entry] for entry in formats))
        self.names = [name for name in self.files[IMAGES] if name in labelled]
        resized = Resize(size, {**MODALITIES, **_modalities(formats)})
        self._finish = Compose([resized, *([transform] if transform else [])])

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """The frame as image and one entry for each label that it has."""
        return self._finish(self._read(self.names[index]))

    def check_normals(self, entry: str, axes: NormalAxes) -> None:
        """Raise unless the normals of a few frames face the camera.

        Args:
            entry: the entry of the normals.
            axes: what their channels point at, for the error.
        """
        names = [name for name in self.names if name in self.files[entry]]
        check_facing(names, lambda name: self._read(name)[entry], self.folder / entry, axes)

    def _read(self, name: str) -> Sample:
        sample = {"image": read_photo(self._path(IMAGES, name))}
        size = image_size(sample)
        for entry, form in self.formats.items():
            if name in self.files[entry]:
                sample[entry] = form.read(self._path(entry, name), size)
        return sample

    def _path(self, entry: str, name: str) -> Path:
        return self.folder / entry / self.files[entry][name]


@dataclass(eq=False)
class FoldersDataModule(FilesDataModule):
    """Own data (`LabelledImages`): images of any size, and pictures of labels, matched by name.

    Either `root` has the folders `train`, `val` and `test`, each with `images` and a folder for
    each entry, or it has these itself. Without `val` a share of the training frames is held out.
    Without `test` the tests run on the validation frames: choose nothing by these that you then
    report on them. Frames of one video look alike, so give them folders of their own.

    Args:
        root: folder of the data.
        size: height and width that images and labels are resized to; it has to be given.
        entries: what the pictures of each entry are: `classes` (class numbers, 255 = unknown),
            `mask` (0 and 1, or 0 and 255), `depth_16bit` (0 = unknown) or `normals_8bit`, by the
            name of the entry, which is that of its folder and of its task.
        depth_scale: metres of one step of `depth_16bit`.
        normal_axes: what the channels of `normals_8bit` point at.
        val_share: share of the frames that is held out where there is no folder `val`.
        seed: seed of the choice of these frames.

    Raises:
        ValueError: if an argument is missing or wrong.
    """

    entries: dict[str, LabelWord] = field(default_factory=dict, kw_only=True)
    depth_scale: float = field(default=0.001, kw_only=True)
    normal_axes: NormalAxes = field(default="right_down_forward", kw_only=True)
    val_share: float = field(default=0.2, kw_only=True)
    seed: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_entries(self.entries)
        if self.size is None:
            raise ValueError(
                "`FoldersDataModule(size=)` should be the height and width that all images are"
                " resized to, since those of a batch have one size. Found None. Set it, for"
                " instance to [256, 320]."
            )
        check_number("FoldersDataModule", "depth_scale", self.depth_scale, 1e-9)
        check_number("FoldersDataModule", "val_share", self.val_share, 0.001, 0.999)
        words = label_formats(self.depth_scale, self.normal_axes)
        self.formats = {entry: words[word] for entry, word in self.entries.items()}
        self.modalities = {**MODALITIES, **_modalities(self.formats)}

    def transform(self, split: Split) -> Transform | None:
        """The augmentation of a split; `None` for validation and test, and without `augment`."""
        if not (self.augment and split == "train"):
            return None
        return Compose(
            [
                RandomHorizontalFlip(modalities=self.modalities),
                RandomZoom((1.0, 1.5), modalities=self.modalities),
            ]
        )

    def dataset(self, split: Split) -> Dataset[Sample]:
        """The frames of the split, augmented only for training."""
        check_choice("FoldersDataModule", "split", split, SPLITS)
        if self.root is None:
            raise ValueError(
                "`FoldersDataModule(root=)` should be the folder of your data. Found None. Set it"
                f" to the folder that has `{IMAGES}`, or `train/{IMAGES}`."
            )
        if split == "test" and not self._has("test"):
            split = "val"
        if self._has(split) and (split != "train" or self._has("val")):
            return self._frames(Path(self.root) / split, split)
        shared = Path(self.root) / "train" if self._has("train") else Path(self.root)
        return self._share(self._frames(shared, split), split)

    def _has(self, split: Split) -> bool:
        return (Path(self.root or "") / split / IMAGES).is_dir()

    def _frames(self, folder: Path, split: Split) -> LabelledImages:
        assert self.size is not None
        frames = LabelledImages(folder, self.formats, self.size, self.transform(split))
        for entry, word in self.entries.items():
            if word == "normals_8bit":
                frames.check_normals(entry, self.normal_axes)
        return frames

    def _share(self, frames: LabelledImages, split: Split) -> Dataset[Sample]:
        """The part of the frames that trains, or that is held out."""
        if len(frames) < 2:
            raise ValueError(
                f"`{frames.folder}` should have at least 2 frames with labels, one of which is held"
                f" out for validation. Found {len(frames)}. Add frames, or a folder `val`."
            )
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(frames), generator=generator).tolist()
        held_out = min(len(frames) - 1, max(1, round(self.val_share * len(frames))))
        chosen = order[held_out:] if split == "train" else order[:held_out]
        return Subset(frames, sorted(chosen))


def _check_entries(entries: Mapping[str, str]) -> None:
    example = "Set it, for instance to {segmentation: classes, depth: depth_16bit}."
    if not entries or {IMAGES, "image"} & entries.keys():
        raise ValueError(
            "`FoldersDataModule(entries=)` should name the folders of labels, at least one, and not"
            f" that of the images. Found {dict(entries)}. {example}"
        )
    for entry, word in entries.items():
        check_choice("FoldersDataModule", f"entries.{entry}", word, get_args(LabelWord))


def _modalities(formats: Mapping[str, LabelFormat]) -> dict[str, Modality]:
    return {entry: form.modality for entry, form in formats.items()}


def _files(folder: Path, suffixes: tuple[str, ...], layout: str) -> dict[str, str]:
    """The files in a folder and in those below, by their names without suffix."""
    files: dict[str, str] = {}
    for file in find_files(folder, suffixes):
        name = PurePosixPath(file).with_suffix("").as_posix()
        if name in files:
            raise ValueError(
                f"`{folder}` should have one file for each frame. Found `{files[name]}` and"
                f" `{file}`. Remove or rename one of them."
            )
        files[name] = file
    if not files:
        missing = folder / f"*{suffixes[0]}" if folder.is_dir() else folder
        raise DatasetNotFoundError(missing, layout, "The files of a frame have the same name.")
    return files


def _check_names(folder: Path, entry: str, files: Mapping[str, Mapping[str, str]]) -> None:
    """Raise if no label has an image, and warn of those that have none."""
    lonely = [file for name, file in files[entry].items() if name not in files[IMAGES]]
    if len(lonely) == len(files[entry]):
        image = next(iter(files[IMAGES].values()))
        raise ValueError(
            f"The files in `{folder / entry}` should have the names of those in"
            f" `{folder / IMAGES}`, but for the suffix. Found `{lonely[0]}` beside `{image}`."
            " Rename them."
        )
    if lonely:
        rank_zero_warn(
            f"{len(lonely)} of {len(files[entry])} files in `{folder / entry}` have no image of"
            f" their name in `{folder / IMAGES}`, such as `{lonely[0]}`. They are not used."
        )


def _layout(folder: Path, formats: Mapping[str, LabelFormat]) -> str:
    lines = [f"{folder / IMAGES}/<name>.jpg  or {', '.join(SUFFIXES[1:])}"]
    lines += [f"{folder / entry}/<name>.png  {form.layout}" for entry, form in formats.items()]
    return "\n".join(lines)
