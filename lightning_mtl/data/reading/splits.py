"""The splits of a data set."""

from typing import Literal, TypeAlias, get_args

Split: TypeAlias = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
