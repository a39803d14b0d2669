"""Shared convolutions of low rank from which each task chooses."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_mtl.models.experts.low_rank_expert_block import LowRankExpertBlock, Router

RANKS = [1, 2, 3, 4]


@pytest.mark.parametrize("chosen", [1, 2, 4])
def test_a_router_weighs_the_best_experts_by_a_softmax_and_no_others(chosen):
    router, features = Router(6, 4, chosen), torch.rand(5, 6, 3, 3)
    weights, scores = router(features), router.score(features.mean((-2, -1)))
    assert (weights > 0).sum(1).tolist() == [chosen] * 5
    torch.testing.assert_close(weights.sum(1), torch.ones(5))
    for weight, score in zip(weights, scores, strict=True):
        best = score.argsort(descending=True)[:chosen]
        torch.testing.assert_close(weight[best], score[best].softmax(0))


def test_a_block_is_one_convolution_for_a_given_choice():
    """The literal version: every expert is a convolution of its own rank, and all are merged."""
    block = LowRankExpertBlock(6, ["depth"], RANKS, 2, 3).eval()
    features = torch.rand(1, 6, 5, 7)
    weights, (narrow, wide) = block.routers["depth"](features)[0], block.experts
    kernel = block.generic.weight.clone()
    experts = zip(narrow.weight.split(RANKS), wide.weight.split(RANKS, 1), strict=True)
    for weight, (down, up) in zip(weights, experts, strict=True):
        kernel += weight * torch.einsum("or,rikl->oikl", up[..., 0, 0], down)
    down, up = block.specific["depth"]
    kernel += torch.einsum("or,rikl->oikl", up.weight[..., 0, 0], down.weight)
    expected = block.norms["depth"](F.conv2d(features, kernel, padding=1)).relu()
    torch.testing.assert_close(block("depth", features), expected)


def test_each_image_has_experts_of_its_own():
    block = LowRankExpertBlock(6, ["depth"], RANKS, 1, 3).eval()
    nn.init.zeros_(block.routers["depth"].score.bias)
    features = torch.randn(8, 6, 5, 7)
    assert len(set(block.routers["depth"](features).argmax(1).tolist())) > 1
    torch.testing.assert_close(
        block("depth", features)[3:4], block("depth", features[3:4]), atol=1e-5, rtol=1e-5
    )


def test_experts_that_were_not_chosen_have_a_gradient_of_zero():
    """Replicas wait for the gradient of every parameter, and would wait forever for none."""
    block = LowRankExpertBlock(6, ["depth"], RANKS, 1, 3)
    nn.init.zeros_(block.routers["depth"].score.weight)
    block.routers["depth"].score.bias.data = torch.tensor([0.0, 2.0, 1.0, 0.0])
    block("depth", torch.rand(2, 6, 5, 7)).square().sum().backward()
    gradients = block.experts[0].weight.grad.split(RANKS)
    assert [bool(gradient.any()) for gradient in gradients] == [False, True, False, False]


def test_ranks_of_experts_are_not_saved_but_follow_the_block():
    block = LowRankExpertBlock(6, ["depth"], RANKS, 1, 3)
    assert block.expert_of.tolist() == [0, 1, 1, 2, 2, 2, 3, 3, 3, 3]
    assert "expert_of" not in block.state_dict()
    assert block.to("meta").expert_of.is_meta
