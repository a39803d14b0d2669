"""Axes in which data sets store surface normals, turned into camera axes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.data.geometry import unit
from lightning_mtl.data.reading.files import read_pixels

NormalAxes: TypeAlias = Literal[
    "right_down_forward", "right_down_back", "right_up_back", "right_forward_up"
]
"""Directions of the three channels of a file; `back` is towards the camera."""

_CAMERA = {  # rows: x = right, y = down, z = forward, from the channels of the file
    "right_down_forward": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "right_down_back": ((1, 0, 0), (0, 1, 0), (0, 0, -1)),
    "right_up_back": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "right_forward_up": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
}


def camera_normals(vectors: Float[Tensor, "3 H W"], axes: NormalAxes) -> Float[Tensor, "3 H W"]:
    """Unit normals in camera axes, from the vectors of a file.

    Vectors shorter than 1/2 become zero: files store about 0 where there is no normal, but 8 bits
    or interpolation leave a remainder.
    """
    long_enough = vectors.square().sum(0, keepdim=True) >= 0.25
    turned = torch.einsum("ij,jhw->ihw", vectors.new_tensor(_CAMERA[axes]), vectors)
    return torch.where(long_enough, unit(turned), 0)


def read_normals(path: Path, size: tuple[int, int], axes: NormalAxes) -> Float[Tensor, "3 H W"]:
    """Unit normals in camera axes, from a picture with 8 bits per channel, v = 127.5 (n + 1)."""
    pixels = read_pixels(path, "normals", (*size, 3))
    return camera_normals(pixels.permute(2, 0, 1) / 127.5 - 1, axes)


def check_facing(
    names: Sequence[str],
    read: Callable[[str], Float[Tensor, "3 H W"]],
    path: Path,
    axes: NormalAxes,
) -> None:
    """Raise unless most normals of a few frames face the camera, as visible surfaces do.

    Args:
        names: the names of all frames.
        read: returns the normals of a frame, in camera axes.
        path: the folder, for the error.
        axes: the axes of the files, for the error.

    Raises:
        ValueError: if most look away, which means that the files have other axes.
    """
    few = names[:: max(1, len(names) // 4)]
    depth = torch.cat([read(name)[2].flatten() for name in few])
    depth = depth[depth != 0]
    share = (depth < 0).double().mean()
    if share < 0.5:
        others = sorted(_CAMERA.keys() - {axes})
        raise ValueError(
            f"The normals in `{path}`, read with `normal_axes={axes!r}`, should face the camera:"
            f" n_z < 0 at most pixels. Found it at {100 * share:.0f} %. Try one of {others}."
        )
