"""PSD diffuses features along local structures of their own task, then of all tasks."""

import pytest
import torch

from lightning_mtl.models.decoder_focused.local_affinity import local_average
from lightning_mtl.models.decoder_focused.psd import PSD

CHANNELS = {"segmentation": 2, "depth": 1, "normals": 3}


def narrow(**arguments) -> PSD:
    return PSD(
        CHANNELS, **{"encoder": "tu-test_resnet", "width": 8, "affinity_width": 8} | arguments
    ).eval()


def features() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {task: torch.rand(2, 8, 16, 16) for task in CHANNELS}


@torch.no_grad()
def test_refined_features_are_the_initial_ones_without_a_share_of_neighbours():
    initial = features()
    joined, refined = narrow(beta=0).refine(initial)
    for task in CHANNELS:
        assert torch.equal(joined[task], initial[task])
        torch.testing.assert_close(refined[task], initial[task])


@torch.no_grad()
@pytest.mark.parametrize("window", [3, 5])
def test_a_constant_map_is_a_fixed_point_up_to_the_border(window):
    constant = torch.rand(2, 8, 1, 1).expand(2, 8, 16, 16)
    _, refined = narrow(window=window).refine(features() | {"depth": constant})
    torch.testing.assert_close(refined["depth"], constant)
    assert (refined["normals"] - features()["normals"]).abs().max() > 0.1


@torch.no_grad()
def test_structures_of_the_own_task_come_first_and_those_of_all_next():
    network, initial = narrow(iterations=1), features()
    structures = {task: network.structures[task](initial[task]) for task in CHANNELS}
    _, refined = network.refine(initial)
    within = (local_average(initial["depth"], structures["depth"], 3) + initial["depth"]) / 2
    handed = network.transfers["depth"](structures["depth"], list(structures.values()))
    expected = (local_average(within, handed, 3) + within) / 2
    torch.testing.assert_close(refined["depth"], expected)


@pytest.mark.parametrize(("iterations", "reach"), [(1, 2), (3, 6)])
def test_every_step_of_both_diffusions_reaches_one_pixel_further(iterations, reach):
    network, initial = narrow(iterations=iterations), features()
    structures = {task: network.structures[task](initial[task]).detach() for task in CHANNELS}
    state = initial["depth"].requires_grad_()
    within = network.diffused(state, structures["depth"])
    across = network.diffused(within, structures["normals"])
    (gradient,) = torch.autograd.grad(across[0, 0, 8, 8], state)
    _, rows, columns = gradient[0].nonzero(as_tuple=True)
    assert int((rows - 8).abs().max()) == int((columns - 8).abs().max()) == reach


def test_wrong_arguments_are_errors():
    with pytest.raises(ValueError, match=r"`PSD\(window=\)` should be one of 3, 5. Found 4"):
        narrow(window=4)
    with pytest.raises(ValueError, match=r"`PSD\(iterations=\)` should be at least 1. Found 0"):
        narrow(iterations=0)
