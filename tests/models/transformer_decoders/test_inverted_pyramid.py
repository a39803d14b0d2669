"""A transformer on the tokens of all tasks, at growing resolution."""

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.engine.graph import cut, reach, root_edge
from lightning_mtl.models.transformer_decoders.inverted_pyramid import InvertedPyramidTransformer

CHANNELS = {"segmentation": 2, "depth": 1, "normals": 3}
ENCODERS = pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2", "tu-test_vit"])


def build(encoder: str = "tu-test_vit") -> InvertedPyramidTransformer:
    return InvertedPyramidTransformer(CHANNELS, encoder, width=32)


def own(network: InvertedPyramidTransformer, task: str) -> set[Tensor]:
    return {
        *network.preliminary_heads[task].parameters(),
        *network.heads[task].parameters(),
    }


@ENCODERS
@pytest.mark.parametrize("size", [(50, 70), (32, 32)])
def test_every_prediction_has_the_size_of_the_image(encoder, size):
    predictions = build(encoder).eval().supervised(torch.rand(2, 3, *size))
    assert {task: [tuple(p.shape) for p in each] for task, each in predictions.items()} == {
        task: [(2, channels, *size)] * 2 for task, channels in CHANNELS.items()
    }


@ENCODERS
def test_tasks_share_all_but_their_heads(encoder):
    """The preliminary decoder of a task makes tokens, which all tasks attend to."""
    network = build(encoder).eval()
    predictions = network.supervised(torch.rand(2, 3, 64, 64))
    roots = [root_edge(sum(p.mean() for p in predictions[task])) for task in CHANNELS]
    found = reach(roots)
    assert set(found.shared) == {
        *(p for p in network.encoder.parameters() if p.requires_grad),
        *network.preliminary.parameters(),
        *network.stages.parameters(),
    }
    for task, specific in zip(CHANNELS, found.task_specific, strict=True):
        assert set(specific) == own(network, task)
    parted = cut(roots, found.shared)
    assert parted is not None
    assert parted.private
    assert parted.leaves == []


@pytest.mark.parametrize("task", CHANNELS)
def test_the_final_prediction_of_a_task_depends_on_the_tokens_of_all(task):
    network = build().eval()
    predictions = network.supervised(torch.rand(1, 3, 64, 64))[task]
    for index, expected in [(0, {task}), (1, set(CHANNELS))]:
        network.zero_grad()
        predictions[index].sum().backward(retain_graph=True)
        reached = {
            name for name in CHANNELS if network.preliminary[name][0][0].weight.grad is not None
        }
        assert reached == expected


def test_stages_double_the_size_halve_the_channels_and_have_equally_many_keys():
    """The image is 96 x 160: 3 x 5 tokens, of which pooling leaves 2 x 3 for each task."""
    network, seen = build().eval(), []
    for stage in network.stages:
        stage.register_forward_hook(lambda *call: seen.append(call[2]))
    network(torch.rand(1, 3, 96, 160))
    assert [tuple(maps.shape) for maps, _ in seen] == [
        (1, 3, 32, 3, 5),
        (1, 3, 16, 6, 10),
        (1, 3, 8, 12, 20),
        (1, 3, 4, 24, 40),
    ]
    heads, tasks, keys = 2, 3, 3 * 2 * 3
    assert [tuple(scores.shape) for _, scores in seen] == [
        (1, heads * tasks * keys, 2, 3),
        (1, heads * tasks * keys, 3, 5),
        (1, heads * tasks * keys, 6, 10),
        (1, heads * tasks * keys, 12, 20),
    ]


def test_attention_is_that_of_the_joined_sequence_with_the_message_added():
    """The literal version: one loop per head, task of the query and task of the key."""
    stage = build().stages[1].eval()
    nn.init.uniform_(stage.mix)
    stage.reduce, stage.key_stride = nn.Identity(), 1
    flat, message = torch.rand(2 * 3, 16, 2, 2), torch.rand(2, 2 * 3 * 12, 2, 2)
    attended, _ = stage._attend(flat, 3, message)
    parts = (stage.query(flat), stage.key(flat), stage.value(flat))
    query, key, value = (part.view(2, 3, 2, 8, 4) for part in parts)  # N, T, heads, channels, hw
    received = message.view(2, 2, 3, 3, 4, 4)  # N, heads, task of query, task of key, key, query
    expected = torch.zeros(2, 3, 2, 8, 4)
    for n in range(2):
        for head in range(2):
            for task in range(3):
                blocks = [
                    stage.mix[0] * query[n, task, head].T @ key[n, other, head] / 8**0.5
                    + stage.mix[1] * received[n, head, task, other].T
                    for other in range(3)
                ]
                weights = torch.cat(blocks, 1).softmax(1)
                values = torch.cat([value[n, other, head] for other in range(3)], 1)
                expected[n, task, head] = values @ weights.T
    torch.testing.assert_close(attended, stage.project(expected.view(6, 16, 2, 2)))


def test_the_scores_of_a_stage_are_a_message_to_the_next():
    network, image = build().eval(), torch.rand(1, 3, 64, 64)
    first = network.stages[0].query.weight
    (before,) = torch.autograd.grad(network(image)["depth"].sum(), first)
    nn.init.zeros_(network.stages[0].project.weight)
    nn.init.zeros_(network.stages[0].project.bias)
    (through_scores,) = torch.autograd.grad(network(image)["depth"].sum(), first)
    assert before.abs().max() > 0
    assert through_scores.abs().max() > 0
    for stage in network.stages[1:]:
        nn.init.zeros_(stage.mix)
    (nothing,) = torch.autograd.grad(network(image)["depth"].sum(), first)
    assert nothing.abs().max() == 0


@ENCODERS
def test_gradients_reach_every_parameter(encoder):
    network = build(encoder)
    predictions = network.supervised(torch.rand(2, 3, 64, 64))
    sum(p.square().mean() for each in predictions.values() for p in each).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.slow
def test_an_exported_network_gives_the_same_numbers():
    network, image = build("resnet18").eval(), torch.rand(2, 3, 50, 70)
    exported = torch.export.export(network, (image,)).module()
    torch.testing.assert_close(exported(image), network(image), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 40}, r"width=.* multiple of 16, .* into 2 heads\. Found 40"),
        ({"width": 0}, r"width=.* Found 0"),
        ({"heads": 0}, r"heads=.* at least 1\. Found 0"),
    ],
    ids=["width", "no width", "heads"],
)
def test_wrong_arguments_are_errors(options, message):
    with pytest.raises(ValueError, match=rf"`InvertedPyramidTransformer\({message}"):
        InvertedPyramidTransformer(CHANNELS, **options)
