"""Changes of the view of a scene: mirror image, zoom, rotation in the image plane, resolution."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vision

Warp = Callable[[Float[Tensor, "C H W"], bool, float], Float[Tensor, "C H2 W2"]]
"""`warp(values, smooth, fill)` resamples, bilinear if `smooth` or else nearest; `fill` is for
uncovered pixels."""


@dataclass(frozen=True)
class View:
    """A change of the view: how it moves pixels, camera points and directions.

    Attributes:
        warp: resamples the image plane.
        pixels: the matrix A of p' ~ A p, with p = (u, v, 1) and pixel centres at integers.
        points: the matrix M of X' = M X; its last row is (0, 0, m), so depths are multiplied by m.
        directions: the matrix N of n' ∝ N n; geometry asks for the inverse transpose of M.
    """

    warp: Warp
    pixels: Float[Tensor, "3 3"]
    points: Float[Tensor, "3 3"]
    directions: Float[Tensor, "3 3"]


def flip(size: tuple[int, int]) -> View:
    """The mirror image: u' = W - 1 - u, X' = -X."""
    mirror = torch.diag(_float64([-1, 1, 1]))
    pixels = mirror.clone()
    pixels[0, 2] = size[1] - 1
    return View(lambda values, *_: vision.horizontal_flip(values), pixels, mirror, mirror)


def zoom(
    size: tuple[int, int],
    scale: float,
    place: tuple[float, float] = (0.5, 0.5),
    tilt_normals: bool = False,
) -> View:
    """A window of 1/s of each side, enlarged to the full size: Z' = Z / s, same focal length.

    The window is rounded to whole pixels, and s becomes the geometric mean of the two resulting
    ratios. Normals that agree with Z / s are n' ∝ (n_x, n_y, s n_z); see `tilt_normals`.

    Args:
        size: height and width.
        scale: the zoom s.
        place: position of the window, from 0 (top, left) to 1 (bottom, right).
        tilt_normals: whether to turn the normals accordingly.
    """
    height, width = size
    rows, columns = max(1, round(height / scale)), max(1, round(width / scale))
    top, left = round(place[0] * (height - rows)), round(place[1] * (width - columns))
    borders = (-left, left + columns - width, -top, top + rows - height)

    def warp(values: Tensor, smooth: bool, fill: float) -> Tensor:
        return _resample(F.pad(values, borders, value=fill), size, smooth)

    scale = math.sqrt(height / rows * width / columns)
    directions = torch.diag(_float64([1, 1, scale if tilt_normals else 1]))
    pixels = _scaling(width / columns, height / rows, left, top)
    return View(warp, pixels, torch.diag(_float64([1, 1, 1 / scale])), directions)


def rotation(size: tuple[int, int], degrees: float) -> View:
    """The image turned counter-clockwise about its centre, as a viewer sees it.

    With y down: n_x' = n_x cos φ + n_y sin φ, n_y' = n_y cos φ - n_x sin φ.
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = _float64([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    centre = torch.eye(3).to(turn)
    centre[0, 2], centre[1, 2] = (size[1] - 1) / 2, (size[0] - 1) / 2

    def warp(values: Tensor, smooth: bool, fill: float) -> Tensor:
        mode = v2.InterpolationMode.BILINEAR if smooth else v2.InterpolationMode.NEAREST
        return vision.rotate(values, degrees, mode, fill=[fill])

    return View(warp, centre @ turn @ torch.linalg.inv(centre), turn, turn)


def resize(size: tuple[int, int], new_size: tuple[int, int]) -> View:
    """The same view at another resolution; only pixels move."""
    unchanged = torch.diag(_float64([1, 1, 1]))
    pixels = _scaling(new_size[1] / size[1], new_size[0] / size[0], left=0, top=0)
    return View(
        lambda values, smooth, _: _resample(values, new_size, smooth), pixels, unchanged, unchanged
    )


def _resample(
    values: Float[Tensor, "C H W"], size: tuple[int, int], smooth: bool
) -> Float[Tensor, "C H2 W2"]:
    mode = v2.InterpolationMode.BILINEAR if smooth else v2.InterpolationMode.NEAREST_EXACT
    return vision.resize(values, list(size), mode, antialias=smooth)


def _scaling(x: float, y: float, left: int, top: int) -> Float[Tensor, "3 3"]:
    """The pixel map A of a window at (left, top) that is enlarged by (x, y)."""
    # Pixel centres are integers, so their edges are half integers.
    return _float64([[x, 0, (0.5 - left) * x - 0.5], [0, y, (0.5 - top) * y - 0.5], [0, 0, 1]])


def _float64(rows: Sequence[object]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)
