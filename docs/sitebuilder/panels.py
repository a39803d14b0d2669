"""The pictures of the method pages: the panels of the figure of two conflicting tasks, one by one.

They are cut from the picture itself, along the frames that it shows.
"""

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray
from PIL import Image
from two_tasks.ends import End, read_csv, verdict

from sitebuilder.files import FIGURES

PICTURE = FIGURES / "trajectories.png"
DARK = 90
COURSES = {
    "balanced": "All three end at the Pareto front, and neither task has its way.",
    "first": "All three end at the Pareto front, where the first task has its way.",
    "second": "All three end at the Pareto front, where the second task has its way.",
    "by_start": "All three end at the Pareto front, and the start decides which task has its way.",
    "on_the_way": "Not all of them are at the Pareto front after 300 steps.",
}

Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels."""


def course_of(name: str) -> str:
    """What the trainings of a weighting have come to; empty if the figure does not show it."""
    found = [end for end in _ends() if end.weighting == name]
    return COURSES[verdict(found)] if found else ""


def cut_panels(folder: Path) -> list[Path]:
    """Write the panel of each weighting that the figure shows, and return their files.

    Raises:
        ValueError: if the figure has not as many panels as weightings with numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(end.weighting for end in _ends()))
    files = [folder / f"{name}.png" for name in names]
    if all(each.is_file() and each.stat().st_mtime > _changed() for each in files):
        return files
    with Image.open(PICTURE) as picture:
        whole = picture.convert("RGB")
    boxes = list(frames(np.asarray(whole.convert("L")) < DARK))
    if len(boxes) != len(names):
        raise ValueError(
            f"`{PICTURE.name}` should have a panel for each of the {len(names)} weightings in"
            f" `trajectories.csv`. Found {len(boxes)}. Draw both anew by `trajectories.py`."
        )
    for file, box in zip(files, boxes, strict=True):
        whole.crop(box).save(file)
    return files


def frames(dark: Bool[NDArray, "height width"]) -> Iterator[Box]:
    """The dark frames on a grid, row by row; places of the grid without one are left out."""
    columns = _lines(dark.sum(0) > len(dark) / 3)
    spans = list(zip(columns[::2], columns[1::2], strict=True))
    rows = _lines(np.any([dark[:, left:right].all(1) for left, right in spans], axis=0))
    for top, bottom in zip(rows[::2], rows[1::2], strict=True):
        for left, right in spans:
            if dark[top, left:right].all() and dark[bottom, left:right].all():
                yield left, top, right + 1, bottom + 1


def _lines(long: Bool[NDArray, " n"]) -> list[int]:
    """Where frames begin and end, in turn: the first pixel of one line, the last of the next."""
    places = np.flatnonzero(long)
    gaps = [(int(last), int(first)) for last, first in pairwise(places) if first - last > 1]
    starts = [int(places[0]), *(first for _, first in gaps)]
    ends = [*(last for last, _ in gaps), int(places[-1])]
    return [ends[k] if k % 2 else starts[k] for k in range(len(starts))]


def _changed() -> float:
    return PICTURE.stat().st_mtime


@cache
def _ends() -> tuple[End, ...]:
    return tuple(read_csv((FIGURES / "trajectories.csv").read_text(encoding="utf-8")))
