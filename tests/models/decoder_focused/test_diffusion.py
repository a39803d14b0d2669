"""Diffusion moves features towards averages of alike pixels; tasks mix whom they find alike."""

import pytest
import torch

from lightning_mtl.models.decoder_focused.diffusion import (
    AffinityMixture,
    check_diffusion,
    diffuse,
)


def stochastic(pixels: int) -> torch.Tensor:
    return torch.rand(2, pixels, pixels).softmax(2)


def test_a_mixture_is_the_mean_at_first():
    affinities = [stochastic(6) for _ in range(3)]
    torch.testing.assert_close(AffinityMixture(3)(affinities), torch.stack(affinities).mean(0))


@torch.no_grad()
def test_rows_of_a_mixture_sum_to_one_whatever_it_has_learned():
    mixture = AffinityMixture(3)
    mixture.logits.copy_(torch.tensor([3.0, -2.0, 0.5]))
    found = mixture([stochastic(6) for _ in range(3)])
    torch.testing.assert_close(found.sum(2), torch.ones(2, 6))


@torch.no_grad()
def test_a_mixture_weighs_the_affinities_in_their_order():
    mixture = AffinityMixture(3)
    mixture.logits.copy_(torch.tensor([0.0, 100.0, 0.0]))
    affinities = [stochastic(6) for _ in range(3)]
    torch.testing.assert_close(mixture(affinities), affinities[1])


@pytest.mark.parametrize("iterations", [1, 4])
def test_diffusion_is_its_closed_form(iterations):
    """h^n = β^n M^n F + (1 - β) Σ_{m<n} β^m M^m F."""
    affinity, features, beta = stochastic(6)[0].double(), torch.randn(6, 3).double(), 0.3
    powers = [torch.linalg.matrix_power(beta * affinity, n) for n in range(iterations + 1)]
    expected = (powers[-1] + (1 - beta) * sum(powers[:-1])) @ features
    found = diffuse(features, lambda state: affinity @ state, beta, iterations)
    torch.testing.assert_close(found, expected)


def test_no_share_of_the_neighbours_leaves_the_features_as_they_are():
    features = torch.randn(6, 3)
    found = diffuse(features, lambda state: stochastic(6)[0] @ state, beta=0, iterations=3)
    torch.testing.assert_close(found, features)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.5, 3, 8), r"beta=\)` should be from 0 to 1. Found 1.5"),
        ((0.5, 0, 8), r"iterations=\)` should be at least 1. Found 0"),
        ((0.5, 3, 0), r"affinity_width=\)` should be at least 1. Found 0"),
    ],
    ids=["beta", "iterations", "width"],
)
def test_numbers_out_of_range_are_errors(arguments, message):
    with pytest.raises(ValueError, match=r"`Network\(" + message):
        check_diffusion("Network", *arguments)
