"""Thinning against that of scikit-image, which filters whole images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage import morphology

from lightning_mtl.data.datasets.human_parts import read_human_parts
from lightning_mtl.metrics.edges.thinning import thin


@pytest.mark.parametrize("blur", [0, 1, 3])
@pytest.mark.parametrize("share", [0, 0.05, 0.3, 0.5, 0.8, 0.95, 1])
def test_blobs_of_any_size_are_thinned_as_scikit_image_does(blur, share):
    generator = np.random.default_rng(0)
    for shape in ((1, 1), (1, 9), (23, 31), (40, 20)):
        values = gaussian_filter(generator.random(shape), blur)
        mask = values <= np.quantile(values, share) if share else np.zeros(shape, dtype=bool)
        assert np.array_equal(thin(mask), morphology.thin(mask))


def test_every_small_image_is_thinned_as_scikit_image_does():
    masks = (np.arange(2**12)[:, None] >> np.arange(12) & 1).astype(bool).reshape(64, 64, 3, 4)
    # On one sheet, with a gap around each, as a pixel depends on its neighbours alone.
    sheet = np.pad(masks, ((0, 0), (0, 0), (0, 1), (0, 1))).transpose(0, 2, 1, 3).reshape(256, 320)
    assert np.array_equal(thin(sheet), morphology.thin(sheet))


def boundaries(labels: np.ndarray) -> np.ndarray:
    """Where the Laplacian of the labels is not zero, as in PASCAL-Context."""
    padded = np.pad(labels.astype(np.int64), 1, mode="reflect")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return around != 4 * padded[1:-1, 1:-1]


@pytest.mark.parametrize("block", [1, 2, 5])
def test_boundaries_of_random_label_maps_are_thinned_as_scikit_image_does(block):
    generator = np.random.default_rng(0)
    for classes in (2, 3, 20, 459):
        labels = generator.integers(0, classes, (11, 14)).repeat(block, 0).repeat(block, 1)
        mask = boundaries(labels)
        assert np.array_equal(thin(mask), morphology.thin(mask))


def test_boundaries_of_real_label_maps_are_thinned_as_scikit_image_does(shared_data: Path) -> None:
    fixtures = shared_data / "fixtures"
    maps = []
    for path in sorted(fixtures.glob("nyuv2/label40/*.png")):
        with Image.open(path) as labels:
            maps.append(np.asarray(labels))
    for path in sorted(fixtures.glob("pascal_part/*.mat"))[:8]:
        with Image.open(path.with_suffix(".jpg")) as image:
            parts = read_human_parts(path, image.size[::-1])
        maps += [] if parts is None else [parts.numpy()]
    assert len(maps) >= 5
    for labels in maps:
        mask = boundaries(labels)
        assert mask.any()
        assert np.array_equal(thin(mask), morphology.thin(mask))


def test_a_line_of_one_pixel_stays():
    mask = np.eye(9, dtype=bool)
    assert np.array_equal(thin(mask), mask)


def test_the_mask_given_is_left_alone():
    mask = np.ones((8, 8), dtype=bool)
    assert thin(mask).sum() < mask.sum()
    assert mask.all()
