"""Feature propagation hands to each task what masks over the tasks have selected."""

import torch

from lightning_mtl.models.decoder_focused.feature_propagation import (
    FeaturePropagation,
    across_channels,
    across_tasks,
)

TASKS = ["segmentation", "depth", "normals"]


def test_masks_sum_to_one_over_the_tasks():
    masks = across_tasks(torch.randn(2, 3 * 4, 5, 6), tasks=3)
    by_task = masks.unflatten(1, (3, 4))
    torch.testing.assert_close(by_task.sum(1), torch.ones(2, 4, 5, 6))
    assert by_task.sum(2).std() > 0.1


def test_released_masks_sum_to_one_over_adjacent_channels():
    """In groups of as many channels as there are tasks, whichever task they are of."""
    masks = across_channels(torch.randn(2, 3 * 4, 5, 6), tasks=3)
    groups = [masks[:, first : first + 3].sum(1) for first in (0, 3, 6, 9)]
    torch.testing.assert_close(torch.stack(groups), torch.ones(4, 2, 5, 6))
    assert masks.unflatten(1, (3, 4)).sum(1).std() > 0.1


def test_the_module_normalises_its_masks_as_it_is_told():
    torch.manual_seed(0)
    features = {task: torch.randn(2, 8, 4, 4) for task in TASKS}
    found = {}
    for softmax in ("tasks", "channels"):
        torch.manual_seed(1)
        module = FeaturePropagation(TASKS, 8, softmax).eval()
        joint = torch.cat(list(features.values()), 1)
        module.mixture.register_forward_hook(
            lambda _, inputs, __, joint=joint, name=softmax: found.update({name: inputs[0] / joint})
        )
        module(features)
    by_task = {name: masks.unflatten(1, (3, 8)).sum(1) for name, masks in found.items()}
    torch.testing.assert_close(by_task["tasks"], torch.ones(2, 8, 4, 4))
    assert (by_task["channels"] - 1).abs().max() > 1e-3


@torch.no_grad()
def test_features_stay_as_they_are_where_all_parameters_are_zero():
    features = {task: torch.randn(2, 8, 4, 4) for task in TASKS}
    module = FeaturePropagation(TASKS, 8, "tasks")
    for parameter in module.parameters():
        parameter.zero_()
    handed = module(features)
    assert all(torch.equal(handed[task], features[task]) for task in TASKS)


def test_every_task_takes_from_every_other():
    torch.manual_seed(0)
    features = {task: torch.randn(2, 8, 4, 4, requires_grad=True) for task in TASKS}
    handed = FeaturePropagation(TASKS, 8, "tasks").eval()(features)
    for task in TASKS:
        gradients = torch.autograd.grad(
            handed[task].square().sum(), list(features.values()), retain_graph=True
        )
        assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_excitation_keeps_a_channel_inside_however_narrow():
    narrow, wide = (FeaturePropagation(TASKS, width, "tasks") for width in (4, 64))
    assert narrow.excitation["depth"].fc1.out_channels == 1
    assert wide.excitation["depth"].fc1.out_channels == 4
