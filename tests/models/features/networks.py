"""Small networks for features, one of each kind, and what the tests ask of them."""

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.engine.graph import Cut, cut, reach, root_edge
from lightning_mtl.models.branching.learning_to_branch import LearningToBranch
from lightning_mtl.models.mixtures.cgc import CGC
from lightning_mtl.models.mixtures.dselect_k import DSelectK
from lightning_mtl.models.mixtures.mmoe import MMoE
from lightning_mtl.models.mixtures.ple import PLE
from lightning_mtl.models.network import MultiTaskNetwork

CHANNELS = {"click": 1, "rating": 5}
FEATURES = 6

Build = Callable[..., MultiTaskNetwork]

NETWORKS = pytest.mark.parametrize(
    "build",
    [
        pytest.param(MMoE, id="MMoE"),
        pytest.param(CGC, id="CGC"),
        pytest.param(PLE, id="PLE"),
        pytest.param(lambda *a, **k: PLE(*a, levels=3, **k), id="PLE of three levels"),
        pytest.param(DSelectK, id="DSelectK"),
        pytest.param(lambda *a, **k: DSelectK(*a, per_example=True, **k), id="DSelectK by example"),
        pytest.param(LearningToBranch, id="LearningToBranch"),
    ],
)


def stem() -> nn.Module:
    """A backbone with parameters that says how many features it returns."""
    torch.manual_seed(0)
    return nn.Linear(4, FEATURES)


def small(build: Build, channels: Mapping[str, int] = CHANNELS) -> MultiTaskNetwork:
    torch.manual_seed(0)
    return build(channels, stem(), hidden=[8], tower=[7])


def roots_of(predictions: Mapping[str, Tensor]) -> list:
    return [root_edge(prediction.mean()) for prediction in predictions.values()]


def owners(network: MultiTaskNetwork, inputs: Tensor) -> dict[str, set[str]]:
    """The names of the parameters that tasks share (`""`), and of those that are each task's."""
    names = {parameter: name for name, parameter in network.named_parameters()}
    predictions = network(inputs)
    found = reach(roots_of(predictions))
    own = dict(zip(predictions, found.task_specific, strict=True))
    return {
        task: {names[p] for p in of_task} for task, of_task in {"": found.shared, **own}.items()
    }


def parted(network: MultiTaskNetwork, inputs: Tensor) -> Cut | None:
    roots = roots_of(network(inputs))
    return cut(roots, reach(roots).shared)


def matching(network: nn.Module, *prefixes: str) -> set[str]:
    """The names of the parameters below the given modules, none of which may be empty."""
    names = {name for name, _ in network.named_parameters()}
    for prefix in prefixes:
        assert any(name.startswith(prefix) for name in names), prefix
    return {name for name in names if name.startswith(prefixes)}
