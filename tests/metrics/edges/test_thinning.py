"""Thinning against that of scikit-image, which filters whole images."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import morphology

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
    for number in range(2**12):
        mask = (number >> np.arange(12) & 1).astype(bool).reshape(3, 4)
        assert np.array_equal(thin(mask), morphology.thin(mask))


def test_a_line_of_one_pixel_stays():
    mask = np.eye(9, dtype=bool)
    assert np.array_equal(thin(mask), mask)


def test_the_mask_given_is_left_alone():
    mask = np.ones((8, 8), dtype=bool)
    assert thin(mask).sum() < mask.sum()
    assert mask.all()
