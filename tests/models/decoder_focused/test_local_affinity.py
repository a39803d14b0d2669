"""Affinities to neighbours are averages over what of a window lies in the image."""

import pytest
import torch

from lightning_mtl.models.decoder_focused.local_affinity import LocalAffinity, local_average

WINDOWS = pytest.mark.parametrize("window", [3, 5])


@WINDOWS
def test_affinities_of_a_pixel_sum_to_one(window):
    torch.manual_seed(0)
    affinity = LocalAffinity(4, 8, window)(torch.randn(2, 4, 6, 7))
    assert affinity.shape == (2, window**2, 6, 7)
    torch.testing.assert_close(affinity.sum(1), torch.ones(2, 6, 7))
    assert affinity[..., 3, 3].min() > 0


def test_neighbours_outside_the_image_have_no_share():
    affinity = LocalAffinity(4, 8, 3)(torch.randn(2, 4, 6, 7))
    corner = affinity[..., 0, 0].unflatten(1, (3, 3))
    assert not corner[:, 0].any()
    assert not corner[..., 0].any()
    assert (corner[:, 1:, 1:] > 0).all()


@WINDOWS
def test_averages_are_those_of_unfolded_windows(window):
    torch.manual_seed(0)
    state = torch.randn(2, 4, 6, 7)
    affinity = torch.rand(2, window**2, 6, 7)
    unfolded = torch.nn.functional.unfold(state, window, padding=window // 2)
    unfolded = unfolded.unflatten(1, (4, window**2)).unflatten(3, (6, 7))
    expected = torch.einsum("nqhw,ncqhw->nchw", affinity, unfolded)
    torch.testing.assert_close(local_average(state, affinity, window), expected)


@torch.no_grad()
def test_affinities_are_a_softmax_of_scaled_products():
    torch.manual_seed(0)
    module, features = LocalAffinity(4, 8, 3), torch.randn(1, 4, 3, 3)
    vectors = module.embedding(features)[0].flatten(1)
    expected = (vectors[:, 4] @ vectors / 8**0.5).softmax(0)
    torch.testing.assert_close(module(features)[0, :, 1, 1], expected)
