"""The splits of a data set."""

from typing import Literal, TypeAlias, get_args

Split: TypeAlias = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


def train_or_val(split: Split) -> Literal["train", "val"]:
    """The split that is read in data without labelled test frames: `"val"` serves the tests too."""
    return "train" if split == "train" else "val"
