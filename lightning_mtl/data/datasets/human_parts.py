"""Human parts of PASCAL-Part (Chen et al., CVPR 2014), 24 of them merged to 6."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

from lightning_mtl.data.reading.errors import CorruptFileError
from lightning_mtl.data.reading.files import UNREADABLE, read_mat

PERSON = 15
PARTS = ("background", "head", "torso", "upper arm", "lower arm", "upper leg", "lower leg")
_PART_OF = {
    **dict.fromkeys(("hair", "head", "lear", "rear", "leye", "reye", "lebrow", "rebrow"), 1),
    **dict.fromkeys(("mouth", "nose"), 1),
    **dict.fromkeys(("torso", "neck"), 2),
    **dict.fromkeys(("luarm", "ruarm"), 3),
    **dict.fromkeys(("llarm", "rlarm", "lhand", "rhand"), 4),
    **dict.fromkeys(("luleg", "ruleg"), 5),
    **dict.fromkeys(("llleg", "rlleg", "lfoot", "rfoot"), 6),
}


def read_human_parts(path: Path, size: tuple[int, int]) -> Int64[Tensor, "H W"] | None:
    """The index into `PARTS` of each pixel; `None` if nobody in the image has parts.

    Where parts overlap, the one that the file names last counts.

    Args:
        path: a PASCAL-Part annotation, `anno.objects.{class_ind, parts.{part_name, mask}}`.
        size: height and width of the image.

    Raises:
        CorruptFileError: if the file is no such annotation.
    """
    annotation = read_mat(path, "anno")
    labels = np.zeros(size, np.int64)
    try:
        objects = annotation[0, 0]["objects"].ravel()
        for person in (o for o in objects if int(o["class_ind"].item()) == PERSON):
            for part in person["parts"].ravel():
                _paint(labels, str(part["part_name"].item()), part["mask"])
    except UNREADABLE as error:
        expected = f"objects with parts among {sorted(_PART_OF)} and masks {size}"
        raise CorruptFileError(path, "field `anno` of", expected, repr(error)) from error
    return torch.from_numpy(labels) if labels.any() else None


def _paint(labels: NDArray[np.int64], name: str, mask: NDArray[Any]) -> None:
    if mask.shape != labels.shape or mask.dtype.kind not in "biuf":
        raise ValueError(f"mask {mask.shape} {mask.dtype} of {name}")
    labels[mask.astype(bool)] = _PART_OF[name]
