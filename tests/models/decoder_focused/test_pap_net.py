"""PAP-Net diffuses features along affinities that all tasks contribute to."""

import pytest
import torch

from lightning_mtl.models.decoder_focused.pap_net import PAPNet

CHANNELS = {"segmentation": 2, "depth": 1, "normals": 3}


def narrow(**arguments) -> PAPNet:
    return PAPNet(
        CHANNELS, **{"encoder": "tu-test_resnet", "width": 8, "affinity_width": 8} | arguments
    ).eval()


def features(side: int = 16) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {task: torch.rand(2, 8, side, side) for task in CHANNELS}


@torch.no_grad()
@pytest.mark.parametrize("stride", [4, 16])
def test_refined_features_are_the_initial_ones_without_a_share_of_other_pixels(stride):
    initial = features()
    joined, refined = narrow(beta=0, affinity_stride=stride).refine(initial)
    for task in CHANNELS:
        assert torch.equal(joined[task], initial[task])
        torch.testing.assert_close(refined[task], initial[task])


@torch.no_grad()
@pytest.mark.parametrize("stride", [4, 16])
def test_a_constant_map_is_a_fixed_point(stride):
    constant = torch.rand(2, 8, 1, 1).expand(2, 8, 16, 16)
    _, refined = narrow(beta=0.5, affinity_stride=stride).refine(features() | {"depth": constant})
    torch.testing.assert_close(refined["depth"], constant)
    assert (refined["normals"] - features()["normals"]).abs().max() > 0.1


@torch.no_grad()
def test_features_are_diffused_along_the_mean_of_all_affinities_at_first():
    network, initial = narrow(affinity_stride=4), features()
    _, refined = network.refine(initial)
    mean = sum(network.affinities[task](initial[task]) for task in CHANNELS) / 3
    start = state = initial["depth"].flatten(2).mT
    for _ in range(3):
        state = 0.05 * mean @ state + 0.95 * start
    torch.testing.assert_close(refined["depth"], state.mT.unflatten(2, (16, 16)))


@pytest.mark.parametrize(
    ("arguments", "pixels"),
    [
        ({}, 16),
        ({"affinity_stride": 4}, 256),
        ({"affinity_stride": 32}, 4),
        ({"encoder": "resnet18", "source": "deepest", "output_stride": 8}, 16),
        ({"source": "deepest"}, 4),
    ],
    ids=["default", "of the pyramid", "coarsest", "dilated encoder", "coarse features"],
)
def test_affinities_are_as_coarse_as_told_or_as_the_features(arguments, pixels):
    network, found = narrow(**arguments), []
    network.affinities["depth"].register_forward_hook(lambda _, __, out: found.append(out.shape))
    with torch.no_grad():
        network(torch.rand(1, 3, 64, 64))
    assert found == [(1, pixels, pixels)]


def test_wrong_arguments_are_errors():
    with pytest.raises(ValueError, match=r"`PAPNet\(affinity_stride=\)` should be one of 4, 8, 16"):
        narrow(affinity_stride=12)
    with pytest.raises(ValueError, match=r"`PAPNet\(beta=\)` should be from 0 to 1. Found 2"):
        narrow(beta=2)
