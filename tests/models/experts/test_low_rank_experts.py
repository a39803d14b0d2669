"""A mixture of convolutions of low rank that each task chooses from."""

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.engine.graph import cut, reach, root_edge
from lightning_mtl.models.experts.low_rank_experts import LowRankExperts

CHANNELS = {"segmentation": 2, "depth": 1, "normals": 3}
ENCODERS = pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2", "tu-test_vit"])


def build(encoder: str = "tu-test_vit", **options: int) -> LowRankExperts:
    sizes = {"width": 16, "experts": 4, "chosen": 2, "rank": 1, "task_rank": 2, **options}
    return LowRankExperts(CHANNELS, encoder, **sizes)


def parameters(*modules: nn.Module) -> set[Tensor]:
    return {p for module in modules for p in module.parameters() if p.requires_grad}


@ENCODERS
@pytest.mark.parametrize("size", [(50, 70), (32, 32)])
def test_every_prediction_has_the_size_of_the_image(encoder, size):
    predictions = build(encoder).eval().supervised(torch.rand(2, 3, *size))
    assert {task: [tuple(p.shape) for p in each] for task, each in predictions.items()} == {
        task: [(2, channels, *size)] * 2 for task, channels in CHANNELS.items()
    }


@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_maps_have_the_stride_that_is_asked_for(stride):
    predictions = build(map_stride=stride).eval().predict_all(torch.rand(1, 3, 64, 96))
    for prediction in predictions["depth"]:
        assert tuple(prediction.shape[-2:]) == (64 // stride, 96 // stride)


@ENCODERS
def test_tasks_share_the_encoder_the_generic_convolution_and_the_experts(encoder):
    network = build(encoder).eval()
    predictions = network.supervised(torch.rand(2, 3, 64, 64))
    roots = [root_edge(sum(p.mean() for p in predictions[task])) for task in CHANNELS]
    found = reach(roots)
    assert set(found.shared) == parameters(
        network.encoder,
        network.projections,
        *(block.generic for block in network.blocks),
        *(block.experts for block in network.blocks),
    )
    for task, own in zip(CHANNELS, found.task_specific, strict=True):
        assert set(own) == parameters(
            network.initial[task],
            network.initial_heads[task],
            network.heads[task],
            *(block.routers[task] for block in network.blocks),
            *(block.specific[task] for block in network.blocks),
            *(block.norms[task] for block in network.blocks),
        )
    parted = cut(roots, found.shared)
    assert parted is not None
    assert len(parted.inner) == 1
    assert set(parted.leaves) == parameters(
        *(block.generic for block in network.blocks),
        *(block.experts for block in network.blocks),
    )


def test_ranks_grow_from_expert_to_expert():
    network = build(experts=5, rank=3, chosen=5)
    ranks = network.blocks[0].expert_of.bincount().tolist()
    assert ranks == [3, 6, 9, 12, 15]
    assert [len(network.blocks), network.blocks[1].experts[0].out_channels] == [2, 45]


def test_tasks_choose_experts_of_their_own():
    network, seen = build().eval(), {}
    for task in CHANNELS:
        router = network.blocks[0].routers[task]
        router.register_forward_hook(lambda *call, task=task: seen.setdefault(task, call[2]))
    network(torch.rand(2, 3, 64, 64))
    assert [tuple(weights.shape) for weights in seen.values()] == [(2, 4)] * 3
    assert not torch.equal(seen["depth"], seen["normals"])


@ENCODERS
def test_gradients_reach_every_parameter(encoder):
    network = build(encoder)
    predictions = network.supervised(torch.rand(2, 3, 64, 64))
    sum(p.square().mean() for each in predictions.values() for p in each).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_half_precision_is_enough_for_the_choice():
    network = build().eval()
    with torch.autocast("cpu", torch.bfloat16):
        predictions = network.supervised(torch.rand(2, 3, 64, 64))
    assert all(p.isfinite().all() for each in predictions.values() for p in each)


@pytest.mark.slow
def test_an_exported_network_gives_the_same_numbers():
    network, image = build("resnet18").eval(), torch.rand(2, 3, 50, 70)
    exported = torch.export.export(network, (image,)).module()
    torch.testing.assert_close(exported(image), network(image), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_numbers():
    network, image = build().eval(), torch.rand(2, 3, 64, 64)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(image), network(image), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("argument", ["width", "blocks", "experts", "rank", "task_rank", "chosen"])
def test_a_number_below_one_is_an_error(argument):
    message = rf"`LowRankExperts\({argument}=\)` should be .* Found 0"
    with pytest.raises(ValueError, match=message):
        LowRankExperts(CHANNELS, **{argument: 0})


def test_more_chosen_experts_than_there_are_is_an_error():
    with pytest.raises(ValueError, match=r"chosen=.* from 1 to 15\. Found 16"):
        LowRankExperts(CHANNELS, chosen=16)


def test_an_unknown_stride_is_an_error():
    with pytest.raises(ValueError, match=r"map_stride=.* one of 4, 8, 16, 32\. Found 2"):
        LowRankExperts(CHANNELS, map_stride=2)
