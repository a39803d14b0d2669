"""Distillation adds to the features of a task what a gate lets through from the others."""

import pytest
import torch
from torch import Tensor

from lightning_mtl.models.decoder_focused.distillation import (
    Distillation,
    SourceGatedDistillation,
    TargetGatedDistillation,
)

TASKS = ["segmentation", "depth", "normals"]


@pytest.fixture
def features() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {task: torch.randn(2, 4, 5, 6) for task in TASKS}


@torch.no_grad()
@pytest.mark.parametrize("gate", ["source", "target"])
def test_features_stay_as_they_are_where_the_values_are_zero(gate, features):
    distillation = Distillation(TASKS, ["depth", "normals"], 4, gate)
    for name, parameter in distillation.named_parameters():
        if "values" in name:
            parameter.zero_()
    refined = distillation(features)
    assert list(refined) == ["depth", "normals"]
    assert all(torch.equal(refined[task], features[task]) for task in refined)


@torch.no_grad()
@pytest.mark.parametrize("gate", ["source", "target"])
def test_features_are_those_of_the_formula(gate, features):
    refined = Distillation(TASKS, TASKS, 4, gate)
    for target in TASKS:
        module = refined.targets[target]
        expected = features[target].clone()
        for source in TASKS:
            if source != target:
                convolution = module.gates[source] if gate == "source" else module.gate
                gated_by = features[source if gate == "source" else target]
                attention = convolution(gated_by).sigmoid()
                expected += attention * module.values[source](features[source])
        torch.testing.assert_close(refined(features)[target], expected)


def gate_inputs(module: torch.nn.Module, features: dict[str, Tensor]) -> list[Tensor]:
    found = []
    for name, child in module.named_modules():
        if name.startswith("gate") and isinstance(child, torch.nn.Conv2d):
            child.register_forward_hook(lambda _, inputs, __: found.append(inputs[0]))
    module(features)
    return found


def test_a_source_gate_is_computed_from_the_source(features):
    found = gate_inputs(SourceGatedDistillation("depth", ["segmentation", "normals"], 4), features)
    assert [any(each is features[task] for each in found) for task in TASKS] == [True, False, True]


def test_a_target_gate_is_computed_from_the_target(features):
    found = gate_inputs(TargetGatedDistillation("depth", ["segmentation", "normals"], 4), features)
    assert len(found) == 1
    assert found[0] is features["depth"]


@pytest.mark.parametrize("gate", ["source", "target"])
def test_one_task_alone_takes_nothing_and_has_no_parameters(gate, features):
    distillation = Distillation(["depth"], ["depth"], 4, gate)
    assert not list(distillation.parameters())
    assert torch.equal(distillation(features)["depth"], features["depth"])
