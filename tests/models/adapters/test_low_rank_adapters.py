"""A frozen vision transformer with updates that tasks share and updates of each task."""

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.engine.graph import Reach, cut, reach, root_edge
from lightning_mtl.models import SharedEncoder
from lightning_mtl.models.adapters.low_rank_adapters import LowRankAdapters

CHANNELS = {"segmentation": 2, "depth": 1, "normals": 3}
ENCODER = "tu-test_vit"
TASK_RANKS = pytest.mark.parametrize("task_rank", [0, 2], ids=["one pass", "pass per task"])


def adapted(task_rank: int = 2, **options: object) -> LowRankAdapters:
    return LowRankAdapters(CHANNELS, ENCODER, rank=2, task_rank=task_rank, **options)


def trained(network: LowRankAdapters) -> LowRankAdapters:
    """The same network with updates that are no longer zero."""
    for name, parameter in network.named_parameters():
        if name.endswith("up.weight"):
            nn.init.normal_(parameter, std=0.1)
    return network


def walked(network: LowRankAdapters) -> tuple[list, Reach]:
    predictions = network(torch.rand(2, 3, 64, 64))
    roots = [root_edge(prediction.mean()) for prediction in predictions.values()]
    return roots, reach(roots)


def parameters(network: LowRankAdapters, part: str) -> set[Tensor]:
    return {p for name, p in network.named_parameters() if part in name and p.requires_grad}


@TASK_RANKS
@pytest.mark.parametrize("decoder", ["linear", "unet"])
def test_predictions_have_the_size_of_the_image(decoder, task_rank):
    network = adapted(task_rank, decoder=decoder).eval()
    predictions = network(torch.rand(2, 3, 50, 70))
    assert {task: tuple(p.shape) for task, p in predictions.items()} == {
        task: (2, channels, 50, 70) for task, channels in CHANNELS.items()
    }


@TASK_RANKS
def test_at_the_start_the_network_is_the_plain_encoder(task_rank):
    torch.manual_seed(1)
    network = adapted(task_rank).eval()
    torch.manual_seed(1)
    plain, image = (
        SharedEncoder(CHANNELS, ENCODER, decoder="linear").eval(),
        torch.rand(2, 3, 50, 70),
    )
    torch.testing.assert_close(network(image), plain(image))
    for found, expected in zip(
        trained(network)(image).values(), plain(image).values(), strict=True
    ):
        assert (found - expected).abs().max() > 1e-3


@TASK_RANKS
def test_only_tasks_with_updates_of_their_own_have_a_pass_of_their_own(task_rank):
    network, passes = adapted(task_rank).eval(), []
    network.encoder.vit.patch_embed.register_forward_hook(lambda *_: passes.append(1))
    network(torch.rand(1, 3, 64, 64))
    assert len(passes) == (3 if task_rank else 1)


def test_an_update_changes_the_prediction_of_its_task_alone():
    network, image = trained(adapted()).eval(), torch.rand(1, 3, 64, 64)
    before = network(image)
    for parameter in parameters(network, "of_task.depth"):
        nn.init.normal_(parameter, std=0.1)
    after = network(image)
    assert [task for task in CHANNELS if not torch.equal(before[task], after[task])] == ["depth"]


def test_the_transformer_is_frozen_but_for_its_updates():
    network = adapted()
    for name, parameter in network.encoder.vit.named_parameters():
        assert parameter.requires_grad == (".shared." in name or ".of_task." in name), name
    assert all(parameter.requires_grad for parameter in network.encoder.reassemble.parameters())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
    sum(prediction.mean() for prediction in network(torch.rand(2, 3, 64, 64)).values()).backward()
    optimizer.step()
    changed = {
        name for name, value in network.state_dict().items() if (value != before[name]).any()
    }
    vit = {name for name in changed if ".vit." in name}
    assert vit == {name for name in before if name.endswith("up.weight")}


@TASK_RANKS
def test_tasks_share_an_update_and_the_reassembly_and_own_the_rest(task_rank):
    network = trained(adapted(task_rank)).eval()
    roots, found = walked(network)
    assert set(found.shared) == {
        *parameters(network, ".shared."),
        *parameters(network, ".reassemble."),
    }
    for task, own in zip(CHANNELS, found.task_specific, strict=True):
        assert set(own) == {
            *parameters(network, f".of_task.{task}."),
            *parameters(network, f".decoders.{task}."),
            *parameters(network, f".heads.{task}."),
        }
    parted = cut(roots, found.shared)
    assert parted is not None
    assert bool(parted.inner) == (task_rank == 0)


@TASK_RANKS
def test_gradients_reach_every_parameter_that_is_trained(task_rank):
    network = adapted(task_rank)
    sum(p.mean() for p in network(torch.rand(2, 3, 64, 64)).values()).backward()
    assert {
        name for name, p in network.named_parameters() if (p.grad is None) == p.requires_grad
    } == set()


def test_no_more_than_a_tenth_of_the_encoder_is_trained():
    with torch.device("meta"):
        encoder = LowRankAdapters(CHANNELS, "tu-vit_small_patch16_224").encoder
    counts = {
        trained: sum(p.numel() for p in encoder.parameters() if p.requires_grad == trained)
        for trained in (True, False)
    }
    assert counts[False] == 21_665_664
    assert 0.01 < counts[True] / sum(counts.values()) < 0.1


@pytest.mark.parametrize(
    "name",
    [
        "tu-eva02_tiny_patch14_224",
        "tu-vit_small_patch16_dinov3",
    ],
)
def test_all_linear_layers_in_the_blocks_of_foundation_encoders_are_updated(name):
    """EVA-02 reads the weight of a layer to add a bias of its own, past the layer's `forward`."""
    with torch.device("meta"):
        network = LowRankAdapters(CHANNELS, name)
        network(torch.rand(1, 3, 64, 64))["depth"].mean().backward()
    blocks = network.encoder.vit.blocks
    layers = {path for path, module in blocks.named_modules() if isinstance(module, nn.Linear)}
    plain = {path for path in layers if path.rsplit(".", 1)[-1] not in ("linear", "down", "up")}
    assert plain == set()
    assert all(p.grad is not None for n, p in blocks.named_parameters() if "of_task.depth" in n)


def test_layers_can_be_chosen():
    network = adapted(layers=["qkv"])
    found = {name.split(".")[-2] for name, _ in network.named_modules() if name[-7:] == "of_task"}
    assert found == {"qkv"}


@pytest.mark.slow
def test_an_exported_network_gives_the_same_numbers():
    network = LowRankAdapters({"depth": 1, "normals": 3}, ENCODER, rank=2, task_rank=1)
    network, image = trained(network).eval(), torch.rand(2, 3, 50, 70)
    exported = torch.export.export(network, (image,)).module()
    torch.testing.assert_close(exported(image), network(image), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_compiled_network_keeps_tasks_apart():
    network, image = trained(adapted()).eval(), torch.rand(2, 3, 64, 64)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(image), network(image), atol=1e-5, rtol=1e-5)


def test_gradient_checkpointing_is_an_error_instead_of_a_wrong_gradient():
    network = adapted()
    network.encoder.vit.set_grad_checkpointing()
    predictions = network(torch.rand(1, 3, 64, 64))
    with pytest.raises(RuntimeError, match="without gradient checkpointing"):
        predictions["depth"].mean().backward()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "resnet18"}, r"encoder=.*vision transformer .* `tu-`.* Found 'resnet18'"),
        ({"rank": -1}, r"rank=.* at least 0\. Found -1"),
        ({"task_rank": -1}, r"task_rank=.* at least 0\. Found -1"),
        ({"rank": 0, "task_rank": 0}, r"rank=.* at least 1 where `task_rank` is 0"),
        ({"scale": 0.0}, r"scale=.* above 0\. Found 0\.0"),
        ({"layers": ["query"]}, r"layers=.* Found \('query',\), of which 'tu-test_vit' has none"),
    ],
    ids=["encoder", "rank", "task rank", "both ranks", "scale", "layers"],
)
def test_wrong_arguments_are_errors(options, message):
    with pytest.raises(ValueError, match=rf"`LowRankAdapters\({message}"):
        LowRankAdapters(CHANNELS, **{"encoder": ENCODER, **options})
