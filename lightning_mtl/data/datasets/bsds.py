"""BSDS500: natural images whose contours several people have drawn."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from lightning_mtl.checks import check_choice
from lightning_mtl.data.augmentation.transforms import RandomHorizontalFlip, Sample, Transform
from lightning_mtl.data.datamodule import FilesDataModule
from lightning_mtl.data.reading.errors import CorruptFileError, LabelError
from lightning_mtl.data.reading.files import (
    IGNORE,
    UNREADABLE,
    Source,
    finishing,
    read_image,
    read_mat,
)
from lightning_mtl.data.reading.splits import SPLITS, Split

SOURCE = Source(
    name="BSDS500",
    layout="""root/images/{train,val,test}/<name>.jpg       321 x 481 or 481 x 321, 8 bit
root/groundTruth/{train,val,test}/<name>.mat  groundTruth{i}.Boundaries, one per annotator""",
    how_to_get=(
        "It is BSDS500/data of the GitHub repository BIDS/BSDS500 (non-commercial research and "
        "education; Arbelaez et al., TPAMI 2011)."
    ),
)


class BSDS500(Dataset[Sample]):
    """200 images to train, 100 to validate, 200 to test: `edges` and all `annotators`.

    Arbelaez et al., TPAMI 2011. `annotators` is `(annotators, H, W)` of zeros and ones, which
    `EdgeMetrics` takes; `collate` makes a list of them. `edges`, to train on, is 1 where more than
    `agreement` of the annotators have drawn, 0 where nobody has, and 255 (ignored) between, as Liu
    et al., CVPR 2017 (RCF), do. Portrait pictures are turned by 90 degrees, so that all have one
    shape.

    Args:
        root: folder of the data; by default the environment variable `LIGHTNING_MTL_BSDS500`.
        split: the official split.
        size: height and width of the samples; by default 321 x 481.
        agreement: share of the annotators above which a pixel is an edge.
        annotators: whether samples have the entry `annotators`.
        transform: applied to a sample whenever it is read.

    Raises:
        DatasetNotFoundError: if a file is missing.
        CorruptFileError: if a file is not what it should be.
        LabelError: if contours are not 0 or 1.
    """

    TASKS: ClassVar[tuple[str, ...]] = ("edges",)

    def __init__(
        self,
        root: str | Path | None = None,
        split: Split = "train",
        size: tuple[int, int] | None = None,
        agreement: float = 0.5,
        annotators: bool = True,
        transform: Transform | None = None,
    ) -> None:
        check_choice("BSDS500", "split", split, SPLITS)
        if not 0 <= agreement < 1:
            raise ValueError(f"`agreement` should lie in [0, 1). Found {agreement}.")
        self.agreement = agreement
        self.annotators = annotators
        folder = SOURCE.root(root)
        self.images = folder / "images" / split
        self.drawings = folder / "groundTruth" / split
        self.names = SOURCE.stems(self.images, ".jpg")
        self._finish = finishing(size, transform)
        for name in self.names:
            SOURCE.existing(self.drawings / f"{name}.mat")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """The image, its edges and, if asked for, what each annotator has drawn."""
        name = self.names[index]
        image = read_image(self.images / f"{name}.jpg")
        height, width = image.shape[-2:]
        drawn = read_annotators(self.drawings / f"{name}.mat", (height, width))
        sample = {"image": image, "edges": consensus(drawn, self.agreement)}
        if self.annotators:
            sample["annotators"] = drawn
        if height > width:
            sample = {entry: value.rot90(dims=(-2, -1)) for entry, value in sample.items()}
        return self._finish(sample)


@dataclass(kw_only=True, eq=False)
class BSDS500DataModule(FilesDataModule):
    """Contours of natural images (`BSDS500`): 200 to train, 100 to validate, 200 to test.

    Batches for validation and test also have `annotators`, a list of one tensor per image.

    Args:
        root: folder of the data; by default the environment variable `LIGHTNING_MTL_BSDS500`.
        agreement: share of the annotators above which a pixel is an edge in training.
        augment: random flip in training.
    """

    AUGMENTATION = (RandomHorizontalFlip(),)

    agreement: float = 0.5

    def dataset(self, split: Split) -> BSDS500:
        """The images of the split, augmented only for training."""
        annotators = split != "train"
        return BSDS500(
            self.root, split, self.size, self.agreement, annotators, self.transform(split)
        )


def read_annotators(path: Path, size: tuple[int, int]) -> Float[Tensor, "annotators H W"]:
    """The contours that each annotator has drawn, 0 or 1.

    Raises:
        CorruptFileError: if the file holds no contours of this size.
        LabelError: if contours are not 0 or 1.
    """
    cells = read_mat(path, "groundTruth").ravel()
    what, expected = "field `groundTruth` of", f"cells with Boundaries {size}"
    try:
        contours = [cell["Boundaries"][0, 0] for cell in cells]
        shapes = [contour.shape for contour in contours]
        numeric = all(contour.dtype.kind in "biu" for contour in contours)
    except UNREADABLE as error:
        raise CorruptFileError(path, what, expected, repr(error)) from error
    if not contours or not numeric or any(shape != size for shape in shapes):
        raise CorruptFileError(path, what, expected, f"{shapes}")
    drawn = np.stack(contours).astype(np.float32)
    if wrong := np.unique(drawn[(drawn != 0) & (drawn != 1)]).tolist():
        raise LabelError(path, "0 or 1 in `Boundaries`", [int(value) for value in wrong[:10]])
    return torch.from_numpy(drawn)


def consensus(
    annotators: Float[Tensor, "annotators H W"], agreement: float
) -> Float[Tensor, "H W"]:
    """Edges to train on: 1 if a larger share than `agreement` has drawn, 0 if nobody, else 255."""
    share = annotators.mean(0)
    return torch.where(share > agreement, 1.0, torch.where(share > 0, float(IGNORE), 0.0))
