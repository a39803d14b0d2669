"""The autograd graph of a step: what each task reaches, and the cut between heads and trunk.

Differentiating each head down to the cut once, and the trunk from there as often as a method needs,
is what keeps every head at one backward pass.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

SHARED = -1

# Torch 2.6 has no word for exporting alone.
_is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)

Owners = dict[Node, int]
"""For every node of a graph the index of the one loss that reaches it, or `SHARED`."""


@dataclass(frozen=True)
class Reach:
    """Which leaves K losses reach.

    Attributes:
        shared: leaves that at least two losses reach.
        task_specific: for each loss, the leaves that only it reaches.
        owners: the walk of the graph that they were found by.
    """

    shared: list[Tensor]
    task_specific: list[list[Tensor]]
    owners: Owners

    @property
    def fused(self) -> bool:
        """Whether one node holds all leaves, as in a network that was compiled as a whole."""
        leaves = {node for node in self.owners if _leaf(node) is not None}
        # The most that an operation of its own holds is a weight, a bias and the like.
        return len(leaves) > 4 and any(leaves <= set(_children(node)) for node in self.owners)

    @property
    def hidden(self) -> bool:
        """Whether some node hides leaves of its own, as a reentrant checkpoint does."""
        return any(node.name() == "CheckpointFunctionBackward" for node in self.owners)


@dataclass(frozen=True)
class Cut:
    """Where K losses enter the trunk.

    Attributes:
        edges: for each loss, the edges from its head into the trunk.
        private: whether no node above the cut is used by two losses, so that a head's buffers may
            be freed as soon as it has been differentiated.
    """

    edges: list[list[GradientEdge]]
    private: bool


class _Join(torch.autograd.Function):
    """The identity on several tensors, as one node of the graph."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*features: Tensor) -> tuple[Tensor, ...]:
        return tuple(feature.view_as(feature) for feature in features)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        return gradients


def join_features(features: list[Tensor]) -> list[Tensor]:
    """The same tensors, as one place in the graph where the heads leave the trunk.

    An encoder's stages are computed from one another, so a graph of heads that use several of them
    cannot be cut between heads and encoder: pass them through here in `forward`. It costs nothing
    and changes no number, and lets what measures at the features or at the last
    shared layer differentiate every head only once. Where there is no graph to cut it does nothing:
    without gradients, and in a network that is traced, scripted or exported.

    Args:
        features: what the heads receive.
    """
    # TorchScript reads no further than this.
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        return features
    traced = torch.jit.is_tracing() or _is_exporting()  # type: ignore[attr-defined]
    if traced or not torch.is_grad_enabled():
        return list(features)
    return list(_Join.apply(*features))


def root_edge(loss: Tensor) -> GradientEdge:
    """The edge at which to start differentiating `loss`, past a `stack` that joins the losses.

    The gradient of one entry of stacked losses sends zeros through every other task's head: K times
    the cost of the heads, and all of them look shared. The entry's own input edge is the same
    number without the detour.
    """
    edge = get_gradient_edge(loss)
    entry = _stacked_entry(edge)
    if entry is None:
        return edge
    stack, index = entry
    node, output = stack.next_functions[index]
    return edge if node is None else GradientEdge(node, output)


def reach(roots: Sequence[GradientEdge], owners: Owners | None = None) -> Reach:
    """Sort the leaves below the losses by who reaches them.

    Args:
        roots: of the losses.
        owners: what `find_owners` returned for them, if the graph has been walked already.
    """
    owners = find_owners(roots) if owners is None else owners
    shared: list[Tensor] = []
    task_specific: list[list[Tensor]] = [[] for _ in roots]
    for node, task in owners.items():
        leaf = _leaf(node)
        if leaf is not None:
            (shared if task == SHARED else task_specific[task]).append(leaf)
    return Reach(shared, task_specific, owners)


def cut(
    roots: Sequence[GradientEdge], shared: Collection[Tensor], owners: Owners | None = None
) -> Cut | None:
    """Part the graph into heads and a trunk that holds the shared parameters and no others.

    A node belongs to the trunk if only shared leaves lie below it and, where several losses are
    present, at least two of them use it: the trunk's outputs are then the shared features.

    Args:
        roots: of the losses.
        shared: the shared parameters.
        owners: as in `reach`.

    Returns:
        The cut; `None` where the trunk cannot be entered at one, see `_nested`.
    """
    owner = find_owners(roots) if owners is None else owners
    pure = _pure(roots, shared)
    alone = len(roots) == 1
    trunk = {
        node
        for node, task in owner.items()
        if pure[node] and (task == SHARED or alone or _leaf(node) is not None)
    }
    edges = []
    private = True
    for root in roots:
        entered, head = _descend(root, trunk)
        edges.append([GradientEdge(node, output) for node, output in entered])
        private = private and all(owner[node] != SHARED for node in head)
    return None if _nested(edges) else Cut(edges, private)


def _stacked_entry(edge: GradientEdge) -> tuple[Node, int] | None:
    name = edge.node.name()
    if name not in {"UnbindBackward0", "SelectBackward0"}:
        return None
    parent = edge.node.next_functions[0][0]
    if parent is None or parent.name() != "StackBackward0":
        return None
    if name == "UnbindBackward0":
        return parent, edge.output_nr
    saved: Any = edge.node  # the saved attributes of a node are not typed
    index = int(saved._saved_index)
    # Autograd saves the index as an unsigned number: -1 arrives as 2**64 - 1.
    count = len(parent.next_functions)
    return parent, index if index < count else index - 2**64 + count


def find_owners(roots: Sequence[GradientEdge]) -> Owners:
    """Walk the graph: for every node the one loss that reaches it, or `SHARED`."""
    owner: Owners = {}
    for task, root in enumerate(roots):
        stack = [root.node]
        while stack:
            node = stack.pop()
            before = owner.get(node)
            if before in (task, SHARED):
                continue
            owner[node] = task if before is None else SHARED
            stack.extend(_children(node))
    return owner


def _pure(roots: Iterable[GradientEdge], shared: Collection[Tensor]) -> dict[Node, bool]:
    """For every node whether all leaves below it are among `shared`."""
    shared = set(shared)
    pure: dict[Node, bool] = {}
    stack = [root.node for root in roots]
    while stack:
        node = stack[-1]
        if node in pure:
            stack.pop()
            continue
        children = _children(node)
        waiting = [child for child in children if child not in pure]
        if waiting:
            stack.extend(waiting)
            continue
        leaf = _leaf(node)
        pure[node] = leaf in shared if leaf is not None else all(pure[child] for child in children)
        stack.pop()
    return pure


def _descend(
    root: GradientEdge, trunk: Collection[Node]
) -> tuple[dict[tuple[Node, int], None], set[Node]]:
    """The edges by which one loss enters the trunk, in order, and the nodes above them."""
    entered: dict[tuple[Node, int], None] = {}
    head: set[Node] = set()
    stack = [(root.node, root.output_nr)]
    while stack:
        node, output = stack.pop()
        if node in trunk:
            entered[(node, output)] = None
        elif node not in head:
            head.add(node)
            stack.extend((child, nr) for child, nr in node.next_functions if child is not None)
    return entered, head


def _nested(edges: Iterable[Iterable[GradientEdge]]) -> bool:
    """Whether some edge of the cut lies below another one.

    Autograd would then run through the trunk on its way to the lower edge. So it is with the stages
    of an encoder that feed both the next stage and a head, unless they are joined, and with a
    parameter that trunk and head use both.
    """
    nodes = {edge.node for task in edges for edge in task}
    below = {child for node in nodes for child in _children(node)}
    stack = list(below)
    while stack:
        node = stack.pop()
        if node in nodes:
            return True
        new = [child for child in _children(node) if child not in below]
        below.update(new)
        stack.extend(new)
    return False


def _children(node: Node) -> list[Node]:
    return [child for child, _ in node.next_functions if child is not None]


def _leaf(node: Node) -> Tensor | None:
    """The parameter that an accumulation node stands for."""
    return None if node.next_functions else getattr(node, "variable", None)
