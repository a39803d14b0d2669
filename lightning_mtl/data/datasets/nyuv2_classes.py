"""Classes of NYUv2: 40 (Gupta et al., CVPR 2013) and 13 (Couprie et al., ICLR 2013)."""

import torch
from jaxtyping import Int64
from torch import Tensor

from lightning_mtl.data.reading.files import IGNORE

CLASSES_13 = (
    *("bed", "books", "ceiling", "chair", "floor", "furniture", "objects"),
    *("picture", "sofa", "table", "tv", "wall", "window"),
)
CLASSES_40 = (
    *("wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf"),
    *("picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror"),
    *("floor mat", "clothes", "ceiling", "books", "refridgerator", "television", "paper", "towel"),
    *("shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp"),
    *("bathtub", "bag", "otherstructure", "otherfurniture", "otherprop"),
)
_13_OF_40 = (
    *(12, 5, 6, 1, 4, 9, 10, 12, 13, 6, 8, 6, 13, 10, 6, 13, 6, 7, 7, 5),
    *(7, 3, 2, 6, 11, 7, 7, 7, 7, 7, 7, 6, 7, 7, 7, 7, 7, 7, 6, 7),
)


def classes_of_40(num_classes: int) -> Int64[Tensor, " 40"]:
    """The class that each of the 40 classes belongs to, counted from 0: itself or one of 13.

    Raises:
        ValueError: if `num_classes` is neither 13 nor 40.
    """
    if num_classes == 40:
        return torch.arange(40)
    if num_classes == 13:
        return torch.tensor(_13_OF_40) - 1
    raise ValueError(f"`num_classes` of NYUv2 should be 13 or 40. Found {num_classes}.")


def table_of_40(num_classes: int, first: int, ignored: int) -> Int64[Tensor, " 256"]:
    """The class of each 8-bit label, for `look_up`.

    Args:
        num_classes: 13 or 40.
        first: the label of the first of the 40 classes in the files.
        ignored: the label of pixels without a class.
    """
    table = torch.full((256,), -1)
    table[first : first + 40] = classes_of_40(num_classes)
    table[ignored] = IGNORE
    return table
