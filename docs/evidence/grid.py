"""Write a config for every point of a grid of fixed weights, which a sweep takes as its weightings.

    python docs/evidence/grid.py FOLDER [--tasks segmentation depth normals] [--values 1 3 9]

With three tasks and three values these are 27 configs. The weights of a point are its values,
divided by the geometric mean of all values: points such as 1, 1, 1 and 3, 3, 3 differ by a factor,
which an optimizer such as Adam hardly sees, and a sweep takes them for two methods.
"""

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import geometric_mean

import yaml


def points(tasks: Sequence[str], values: Sequence[float]) -> dict[str, dict[str, float]]:
    """The weights of every point, by a name such as `w_1_3_9`."""
    middle = geometric_mean(values)
    found = {}
    for point in product(values, repeat=len(tasks)):
        name = "_".join(f"{value:g}" for value in point)
        weights = [round(value / middle, 4) for value in point]
        found[f"w_{name}"] = dict(zip(tasks, weights, strict=True))
    return found


def write(folder: Path, tasks: Sequence[str], values: Sequence[float]) -> None:
    """Write a file for each point into a folder, which is made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, weights in points(tasks, values).items():
        weighting = {"class_path": "FixedWeighting", "init_args": {"weights": weights}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"weighting": weighting}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", nargs="+", default=["segmentation", "depth", "normals"])
    parser.add_argument("--values", nargs="+", type=float, default=[1.0, 3.0, 9.0])
    given = parser.parse_args()
    write(given.folder, given.tasks, given.values)
