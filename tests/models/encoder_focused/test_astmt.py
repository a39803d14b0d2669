"""Attentive single-tasking of multiple tasks."""

import math
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.models import ASTMT, SharedEncoder
from lightning_mtl.models.encoder_focused.task_discriminator import reversed_gradient
from lightning_mtl.models.encoder_focused.task_encoder import ParallelAdapter, task_encoder
from lightning_mtl.models.encoders.build import build_encoder
from tests.support.sharing import differences

CHANNELS = {"segmentation": 5, "depth": 1, "normals": 3}
ENCODER = "tu-test_resnet"


def image(*size: int) -> Tensor:
    torch.manual_seed(1)
    return torch.rand(2, 3, *size)


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2", "tu-regnety_002"])
def test_predictions_have_the_size_of_the_image(encoder: str) -> None:
    predictions = ASTMT(CHANNELS, encoder, decoder="fpn")(image(50, 70))
    assert {task: tuple(found.shape) for task, found in predictions.items()} == {
        task: (2, channels, 50, 70) for task, channels in CHANNELS.items()
    }


def test_at_the_start_adapters_leave_the_encoder_as_it_is() -> None:
    encoder = build_encoder("resnet18").eval()
    copy = task_encoder(encoder, adapters=True, reduction=0)
    found, expected = copy(image(64, 64)), encoder(image(64, 64))
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))
    assert sum(isinstance(m, ParallelAdapter) for m in copy.modules()) == 16


def test_without_extras_it_equals_hard_sharing() -> None:
    network = ASTMT(CHANNELS, ENCODER, squeeze_reduction=0).eval()
    plain = SharedEncoder(CHANNELS, ENCODER).eval()
    first = network.encoders["segmentation"].state_dict()
    plain.encoder.load_state_dict(
        {k.replace(".convolution.", "."): v for k, v in first.items() if ".adapter." not in k}
    )
    plain.decoders.load_state_dict(network.decoders.state_dict())
    plain.heads.load_state_dict(network.heads.state_dict())
    found, expected = network(image(64, 64)), plain(image(64, 64))
    assert all(torch.equal(found[task], expected[task]) for task in CHANNELS)


@pytest.mark.parametrize(
    ("name", "adapters", "squeezes"),
    # Convolutions larger than 1 x 1 in residual blocks, and residual blocks.
    [("resnet18", 16, 8), ("resnet50", 16, 16), ("mobilenet_v2", 17, 17)],
)
def test_every_block_has_its_adapters_and_its_squeeze(
    name: str, adapters: int, squeezes: int
) -> None:
    with torch.device("meta"):
        copy = task_encoder(build_encoder(name), adapters=True, reduction=16)
    kinds = [type(module).__name__ for module in copy.modules()]
    assert kinds.count("ParallelAdapter") == adapters
    assert kinds.count("SqueezeExcitation") == squeezes


def test_the_squeeze_is_before_the_shortcut() -> None:
    copy = task_encoder(build_encoder("resnet18"), adapters=False, reduction=16)
    block = copy.layer2[0]
    assert isinstance(block.bn2, nn.Sequential)
    assert isinstance(block.bn1, nn.BatchNorm2d)
    assert isinstance(block.downsample[1], nn.BatchNorm2d)


def test_convolutions_are_shared_and_norms_adapters_and_squeezes_are_not() -> None:
    network = ASTMT(CHANNELS, "resnet18")
    expected = {
        "encoders.{task}.*adapter*": "{task}",
        "encoders.{task}.*.fc?.*": "{task}",
        "encoders.{task}.*bn?.*": "{task}",
        "encoders.{task}.*downsample.1.*": "{task}",
        "encoders.*": "shared",
        "*.{task}.*": "{task}",
    }
    assert not differences(network, image(64, 64), expected)


def test_shared_parameters_are_one_and_the_same_object() -> None:
    network = ASTMT(CHANNELS, "resnet18")
    first, second = (network.encoders[task].layer1[0] for task in ("depth", "normals"))
    assert first.conv1.convolution.weight is second.conv1.convolution.weight
    assert first.bn1.weight is not second.bn1.weight
    assert first.bn1.running_mean is not second.bn1.running_mean


def test_a_reversed_gradient_keeps_the_numbers() -> None:
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = reversed_gradient(x, 0.3)
    torch.testing.assert_close(y, x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.full((2,), -0.3))


def losses_of(network: ASTMT) -> dict[str, Tensor]:
    return {task: found.square().mean() for task, found in network(image(64, 64)).items()}


def test_the_adversarial_loss_adds_to_the_loss_of_each_task() -> None:
    """At first the discriminator knows nothing: its cross entropy is about log 3."""
    torch.manual_seed(0)
    network = ASTMT(CHANNELS, ENCODER, adversarial=0.25)
    plain = losses_of(network)
    found = network.training_losses(plain)
    for task, loss in plain.items():
        rest = (found[task] - 0.75 * loss).item() / 0.25
        assert rest == pytest.approx(math.log(3), abs=0.3)


def test_the_network_climbs_where_the_discriminator_descends() -> None:
    """Without reversal the network gets no gradient of the discriminator's loss."""
    torch.manual_seed(0)
    network = ASTMT(CHANNELS, ENCODER, adversarial=1.0)
    weight = network.encoders["depth"].model.conv1[0].weight

    def gradient(reversal: float) -> Tensor:
        network.reversal = reversal
        losses = network.training_losses(losses_of(network))
        (found,) = torch.autograd.grad(losses["depth"], weight)
        return found

    half, whole = gradient(0.5), gradient(1.0)
    assert float(whole.abs().max()) > 0
    torch.testing.assert_close(whole, 2 * half, atol=1e-8, rtol=1e-3)
    assert not gradient(0.0).any()


def test_the_reversal_grows_with_the_training() -> None:
    network = ASTMT(CHANNELS, ENCODER, adversarial=0.01)
    network.start_epoch(0.1)
    assert network.reversal == pytest.approx(2 / (1 + math.exp(-1)) - 1)
    network.start_epoch(1.0)
    assert network.reversal == pytest.approx(1, abs=1e-4)


def test_only_the_discriminator_learns_faster() -> None:
    network = ASTMT(CHANNELS, ENCODER, adversarial=0.01)
    found = {name: network.lr_multiplier(name) for name, _ in network.named_parameters()}
    assert {found[name] for name in found if name.startswith("discriminator.")} == {10.0}
    assert {found[name] for name in found if not name.startswith("discriminator.")} == {1.0}


def test_predictions_after_training_keep_no_features() -> None:
    network = ASTMT(CHANNELS, ENCODER, adversarial=0.01)
    network.training_losses(losses_of(network))
    assert not network._features
    network.eval()(image(64, 64))
    assert not network._features


def test_an_encoder_without_residual_blocks_is_an_error() -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=r"residual blocks.*such as resnet"):
        ASTMT(CHANNELS, "tu-convnext_atto")


def test_it_can_be_copied_between_predictions_and_losses() -> None:
    network = ASTMT(CHANNELS, ENCODER, adversarial=0.01)
    network(image(64, 64))
    copy = deepcopy(network)
    losses = {task: torch.zeros(()) for task in CHANNELS}
    assert copy.training_losses(losses) is losses
    assert network.training_losses(losses_of(network)) != losses
