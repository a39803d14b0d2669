"""The splits of a data set."""

from typing import Literal, TypeAlias, get_args

Split: TypeAlias = Literal["train", "val", "test"]


def check_split(split: str) -> None:
    """Raise unless there is such a split; least of all may the test data stand for another.

    Raises:
        ValueError: If there is none.
    """
    if split not in get_args(Split):
        raise ValueError(f"`split` must be one of {get_args(Split)}. Found {split!r}.")
