"""Suppression of non-maxima against loops over pixels."""

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lightning_mtl.metrics.edges.suppression import suppress_non_maxima


def smoothed(image: np.ndarray, radius: int) -> np.ndarray:
    weights = [radius + 1 - abs(step) for step in range(-radius, radius + 1)]
    padded = np.pad(image, radius, mode="symmetric")
    out = np.zeros_like(image)
    for i, vertical in enumerate(weights):
        for j, horizontal in enumerate(weights):
            window = padded[i : i + image.shape[0], j : j + image.shape[1]]
            out += vertical * horizontal * window
    return out / (radius + 1) ** 4


def value_at(image: np.ndarray, row: float, column: float) -> float:
    row = min(max(row, 0), image.shape[0] - 1)
    column = min(max(column, 0), image.shape[1] - 1)
    top, left = min(int(row), image.shape[0] - 2), min(int(column), image.shape[1] - 2)
    down, right = row - top, column - left
    return (
        image[top, left] * (1 - down) * (1 - right)
        + image[top + 1, left] * down * (1 - right)
        + image[top, left + 1] * (1 - down) * right
        + image[top + 1, left + 1] * down * right
    )


def literal(image: np.ndarray, radius: int, border: int) -> np.ndarray:
    down, right = np.gradient(smoothed(image, 4))
    down_down, right_down = np.gradient(down)[0], np.gradient(down)[1]
    right_right = np.gradient(right)[1]
    out = image.copy()
    height, width = image.shape
    for row in range(height):
        for column in range(width):
            ratio = down_down[row, column] * np.sign(-right_down[row, column])
            angle = math.atan(ratio / (right_right[row, column] + 1e-5)) % math.pi
            for step in range(-radius, radius + 1):
                place = row + step * math.sin(angle), column + step * math.cos(angle)
                if step and image[row, column] * 1.01 < value_at(image, *place):
                    out[row, column] = 0
            vertical = min(row, height - 1 - row, border) / border
            horizontal = min(column, width - 1 - column, border) / border
            out[row, column] *= vertical * horizontal
    return out


@pytest.mark.parametrize(("radius", "border"), [(1, 5), (2, 3)])
def test_values_equal_the_literal_suppression(radius, border):
    image = gaussian_filter(np.random.default_rng(0).random((31, 27)), 1.5)
    expected = literal(image, radius, border)
    found = suppress_non_maxima(image, radius=radius, border=border)
    assert np.allclose(found, expected)
    assert 0.05 < (expected > 0).mean() < 0.9


@pytest.mark.parametrize("degrees", [20, 70, 110, 160])
def test_of_a_soft_line_a_narrow_ridge_is_left(degrees):
    row, column = np.indices((41, 41)) - 20
    angle = math.radians(degrees)
    distance = np.abs(math.cos(angle) * row - math.sin(angle) * column)
    kept = suppress_non_maxima(np.exp(-(distance**2) / 8))[6:-6, 6:-6]
    distance = distance[6:-6, 6:-6]
    assert (kept[distance < 0.25] > 0).all()
    assert not kept[(distance > 1.5) & (distance < 5)].any()
