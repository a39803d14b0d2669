"""What the tasks of a network share, by the names of its parameters."""

from collections.abc import Mapping
from fnmatch import fnmatch

import torch
from torch import Tensor, nn

from lightning_mtl.engine.graph import cut, reach, root_edge
from lightning_mtl.models import DeeplySupervisedNetwork

SHARED = "shared"


def roots_of(network: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """For each task a number that depends on all of its predictions."""
    deep = isinstance(network, DeeplySupervisedNetwork)
    predictions = network.supervised(inputs) if deep else network(inputs)
    return {
        task: torch.stack([one.square().mean() for one in (found if deep else [found])]).sum()
        for task, found in predictions.items()
    }


def owners(network: nn.Module, inputs: Tensor) -> dict[str, str]:
    """Who reaches each parameter that is trained: a task, `SHARED` or nobody, ""."""
    roots = roots_of(network, inputs)
    found = reach([root_edge(root) for root in roots.values()])
    by_parameter = dict.fromkeys(found.shared, SHARED)
    for task, own in zip(roots, found.task_specific, strict=True):
        by_parameter |= dict.fromkeys(own, task)
    return {
        name: by_parameter.get(p, "") for name, p in network.named_parameters() if p.requires_grad
    }


def differences(
    network: nn.Module, inputs: Tensor, expected: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    """Parameters whose owner is not that of the first pattern which their names match.

    Patterns are those of file names; `{task}` in one stands for every task, which is the owner.
    """
    tasks = list(roots_of(network, inputs))
    patterns = [
        (pattern.replace("{task}", task), task if owner == "{task}" else owner)
        for pattern, owner in expected.items()
        for task in (tasks if "{task}" in pattern else tasks[:1])
    ]
    wrong = {}
    for name, owner in owners(network, inputs).items():
        wanted = next((want for pattern, want in patterns if fnmatch(name, pattern)), "no pattern")
        if owner != wanted:
            wrong[name] = (owner, wanted)
    return wrong


def can_be_cut(network: nn.Module, inputs: Tensor) -> bool:
    """Whether the graph parts into a trunk and heads."""
    edges = [root_edge(root) for root in roots_of(network, inputs).values()]
    return cut(edges, reach(edges).shared) is not None
