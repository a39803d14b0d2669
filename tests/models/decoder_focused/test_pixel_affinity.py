"""Affinities between all pixels are averages: rows that sum to one, of no negative number."""

import torch

from lightning_mtl.models.decoder_focused.pixel_affinity import PixelAffinity


def test_rows_sum_to_one_and_are_not_negative():
    torch.manual_seed(0)
    affinity = PixelAffinity(4, 8)(torch.randn(2, 4, 3, 5))
    torch.testing.assert_close(affinity.sum(2), torch.ones(2, 15))
    assert affinity.min() >= 0
    assert (affinity.sum(1) - 1).abs().max() > 0.1


def test_every_pixel_is_most_alike_to_itself():
    torch.manual_seed(0)
    affinity = PixelAffinity(4, 8)(torch.randn(2, 4, 3, 5))
    assert torch.equal(affinity.argmax(2), torch.arange(15).expand(2, 15))


@torch.no_grad()
def test_affinities_are_non_negative_cosines_by_row():
    torch.manual_seed(0)
    module, features = PixelAffinity(4, 8), torch.randn(1, 4, 2, 3)
    vectors = module.embedding(features)[0].flatten(1).T
    similar = torch.cosine_similarity(vectors[:, None], vectors[None], dim=2).clamp(min=0)
    torch.testing.assert_close(module(features)[0], similar / similar.sum(1, keepdim=True))
