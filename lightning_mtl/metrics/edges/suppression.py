"""Suppression of the pixels of an edge map that are not on a ridge."""

import numpy as np
from jaxtyping import Float
from scipy.ndimage import convolve1d, map_coordinates

__all__ = ["suppress_non_maxima"]


def suppress_non_maxima(
    probability: Float[np.ndarray, "H W"],
    smoothing: int = 4,
    radius: int = 1,
    border: int = 5,
    slack: float = 1.01,
) -> Float[np.ndarray, "H W"]:
    """The edge map, zero at each pixel that a neighbour across the edge exceeds.

    The direction across the edge, from second derivatives of the map under a triangle filter, is
    that of Dollár and Zitnick, "Fast Edge Detection Using Structured Forests" (TPAMI 2015):

        angle = atan(E_yy sign(-E_xy) / (E_xx + 1e-5))

    Along a row of pixels exactly, `E_xy` is 0, and nothing is suppressed; nor is it there.

    Args:
        probability: probability of an edge.
        smoothing: radius of the triangle filter in pixels.
        radius: how far neighbours are looked at, in pixels.
        border: over how many pixels the map fades out towards the border of the image, 1 or more.
        slack: by what factor a neighbour must exceed the pixel.
    """
    angle = _across(probability, smoothing)
    cosine, sine = np.cos(angle), np.sin(angle)
    row, column = np.indices(probability.shape)
    ridge = np.ones(probability.shape, dtype=bool)
    for step in (*range(-radius, 0), *range(1, radius + 1)):
        places = [row + step * sine, column + step * cosine]
        beside = map_coordinates(probability, places, order=1, mode="nearest")
        ridge &= probability * slack >= beside
    return np.where(ridge, probability * _fade(probability.shape, border), 0)


def _across(probability: Float[np.ndarray, "H W"], smoothing: int) -> Float[np.ndarray, "H W"]:
    kernel = np.append(np.arange(1, smoothing + 1), np.arange(smoothing + 1, 0, -1))
    smooth = probability.astype(np.float64)
    for axis in (0, 1):
        smooth = convolve1d(smooth, kernel / (smoothing + 1) ** 2, axis=axis, mode="reflect")
    down, right = np.gradient(smooth)
    right_right = np.gradient(right, axis=1)
    right_down, down_down = np.gradient(right, axis=0), np.gradient(down, axis=0)
    return np.arctan(down_down * np.sign(-right_down) / (right_right + 1e-5))


def _fade(shape: tuple[int, ...], border: int) -> Float[np.ndarray, "H W"]:
    ramps = (np.minimum(np.arange(size), np.arange(size)[::-1]) / border for size in shape)
    rows, columns = (np.minimum(ramp, 1) for ramp in ramps)
    return rows[:, None] * columns
