"""Which parameters each task uses, found even where a strategy or a compiler hides the leaves."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node, get_gradient_edge

from lightning_mtl.distributed import union_over_ranks
from lightning_mtl.engine.graph import find_owners, root_edge
from lightning_mtl.engine.shared_parameters import SEVERAL

BETWEEN = "\0"
"""Between the name of a task and that of a parameter, neither of which contains it."""

Learned = dict[str, list[str]]
"""The parameters by the task that uses them, and under `SEVERAL` those of several tasks."""


def learn_usage(module: nn.Module, evaluate: Callable[[], Mapping[str, Tensor]]) -> Learned:
    """Which parameters each task uses, in the form of `Partition.state`, the same on every rank.

    Evaluates the losses once, without what `torch.compile` has made of the network. Called in
    `training_step`, after the strategy has wrapped the module, by all ranks. Under FSDP the leaves
    of the graph are no parameters of the module: they are recognised by the nodes that its
    attributes have when a forward pass begins.

    Args:
        module: the `MultiTaskModule`.
        evaluate: returns the losses by task, with a graph.
    """
    with torch.compiler.set_stance("force_eager"), _nodes_noted(module) as nodes:
        losses = evaluate()
    owners = find_owners([root_edge(loss) for loss in losses.values()])
    tasks = list(losses)
    used = []
    for name, noted in nodes.items():
        found = [owners[node] for node in noted if node in owners]
        used += [(tasks[owner] if owner >= 0 else SEVERAL, name) for owner in found]
    by_task: Learned = {SEVERAL: []}
    pairs = [*((task, "") for task in tasks), *used]
    for pair in union_over_ranks([BETWEEN.join(pair) for pair in pairs]):
        task, name = pair.split(BETWEEN)
        by_task.setdefault(task, []).extend([name] if name else [])
    return {task: _in_order(module, names) for task, names in by_task.items()}


def merged(learned: Mapping[str, list[str]], more: Mapping[str, list[str]]) -> Learned:
    """What two evaluations have shown together, as some tasks may be absent from the first."""
    tasks = dict.fromkeys([*learned, *more])
    return {
        task: list(dict.fromkeys([*learned.get(task, []), *more.get(task, [])])) for task in tasks
    }


def shared_names(learned: Mapping[str, list[str]]) -> list[str]:
    """The names of the parameters that at least two tasks use."""
    counts: dict[str, int] = {}
    for task, names in learned.items():
        for name in names:
            counts[name] = counts.get(name, 0) + (2 if task == SEVERAL else 1)
    return [name for name, count in counts.items() if count > 1]


@contextmanager
def _nodes_noted(module: nn.Module) -> Iterator[dict[str, dict[Node, None]]]:
    """A context that notes the nodes which parameters have in the graph, by their names.

    Of one parameter there may be several: FSDP gathers it as another tensor, and may do so anew for
    every forward pass.
    """
    nodes: dict[str, dict[Node, None]] = {}

    def note(prefix: str, part: nn.Module, arguments: Any) -> None:
        for name, parameter in part.named_parameters(prefix):
            if parameter.requires_grad:
                nodes.setdefault(name, {})[get_gradient_edge(parameter).node] = None

    def hook(prefix: str) -> Callable[[nn.Module, Any], None]:
        return lambda part, arguments: note(prefix, part, arguments)

    note("", module, ())
    # Those of the strategy run before these, as they were registered before.
    handles = [
        part.register_forward_pre_hook(hook(prefix)) for prefix, part in module.named_modules()
    ]
    try:
        yield nodes
    finally:
        for handle in handles:
            handle.remove()


def _in_order(module: nn.Module, names: list[str]) -> list[str]:
    """The names once each, in the order of `module.named_parameters()`."""
    known = set(names)
    return [name for name, _ in module.named_parameters() if name in known]
