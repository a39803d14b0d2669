"""The autograd graph of a step: what each task reaches, and the cut between heads and trunk.

Differentiating each head down to the cut once, and the trunk from there as often as a method needs,
is what keeps every head at one backward pass.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from lightning_mtl.engine.entries.follow import Dependence, apart, follow, is_compiled
from lightning_mtl.engine.entries.nodes import Entries, signed

SHARED = -1
SPLIT = -2

# Torch 2.6 has no word for exporting alone.
_is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)

Owners = dict[Node, int]
"""For every node of a graph that some loss depends on, the index of the one loss that does.

Otherwise it is `SHARED`, or `SPLIT` where each loss depends on entries of its own: autograd runs
through such a node for all losses, but no loss depends on what belongs to another.
"""


@dataclass(frozen=True)
class Reach:
    """Which leaves K losses reach.

    Attributes:
        shared: leaves that at least two losses reach.
        task_specific: for each loss, the leaves that only it reaches.
        owners: the walk of the graph that they were found by.
        roots: of the losses.
        unfollowed: nodes where the graph does not say on which inputs a loss depends.
    """

    shared: list[Tensor]
    task_specific: list[list[Tensor]]
    owners: Owners
    roots: Sequence[GradientEdge] = ()
    unfollowed: frozenset[Node] = frozenset()

    @property
    def fused(self) -> bool:
        """Whether one node holds all leaves, as in a network that was compiled as a whole."""
        leaves = {node for node in self.owners if leaf_of(node) is not None}
        # The most that an operation of its own holds is a weight, a bias and the like.
        return len(leaves) > 4 and any(leaves <= set(_children(node)) for node in self.owners)

    @property
    def hidden(self) -> bool:
        """Whether some node hides leaves of its own, as a reentrant checkpoint does."""
        return any(node.name() == "CheckpointFunctionBackward" for node in self.owners)

    @property
    def uncertain(self) -> list[Tensor]:
        """Shared leaves that may belong to one loss alone, which the graph does not show.

        They lie below some inputs of an unfollowed node but not below all of them, and without that
        node at most one loss would reach them. Walks the graph again if there is such a node.
        """
        if not self.unfollowed or self.fused:
            return []
        optional = set[Tensor]().union(*(_optional_leaves(node) for node in self.unfollowed))
        owners, _ = _walk(self.roots, self.unfollowed)
        certain = {leaf_of(node) for node, task in owners.items() if task == SHARED}
        return [leaf for leaf in self.shared if leaf in optional and leaf not in certain]


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

    @cached_property
    def distinct(self) -> dict[tuple[Node, int], GradientEdge]:
        """The edges of all losses, each of them once, by their node and output."""
        return {(edge.node, edge.output_nr): edge for task in self.edges for edge in task}

    @property
    def inner(self) -> list[GradientEdge]:
        """The distinct edges that do not lead into a parameter itself."""
        return [edge for edge in self.distinct.values() if leaf_of(edge.node) is None]

    @property
    def leaves(self) -> list[Tensor]:
        """The parameters that the other distinct edges lead into."""
        leaves = (leaf_of(edge.node) for edge in self.distinct.values())
        return [leaf for leaf in leaves if leaf is not None]


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
    owners, unfollowed = _walk(roots) if owners is None else (owners, set[Node]())
    shared: list[Tensor] = []
    task_specific: list[list[Tensor]] = [[] for _ in roots]
    for node, task in owners.items():
        leaf = leaf_of(node)
        if leaf is not None:
            (shared if task == SHARED else task_specific[task]).append(leaf)
    return Reach(shared, task_specific, owners, roots, frozenset(unfollowed))


def cut(
    roots: Sequence[GradientEdge], shared: Collection[Tensor], owners: Owners | None = None
) -> Cut | None:
    """Part the graph into heads and a trunk that holds the shared parameters and no others.

    A node belongs to the trunk if only shared leaves lie below it and, where several losses are
    present, at least two of them use it: the trunk's outputs are then the shared features. Where
    that leads to no cut, tensors of which each loss uses other entries belong to the trunk as well.

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
    usable = [node for node in owner if pure[node]]
    trunk = {node for node in usable if alone or owner[node] == SHARED or leaf_of(node) is not None}
    split = {node for node in usable if owner[node] == SPLIT}
    parted = _cut_at(roots, trunk, owner)
    return parted if parted is not None or not split else _cut_at(roots, trunk | split, owner)


def _cut_at(roots: Sequence[GradientEdge], trunk: Collection[Node], owner: Owners) -> Cut | None:
    """The cut where the losses enter `trunk`; `None` where it is nested."""
    edges: list[list[GradientEdge]] = []
    above: set[Node] = set()
    private = True
    for task, root in enumerate(roots):
        entered, head, beside = _descend(root, trunk, owner, (task, SHARED, SPLIT))
        edges.append([GradientEdge(node, output) for node, output in entered])
        # Autograd runs through the nodes beside the head as well, and sends zeros there.
        private = private and not beside and above.isdisjoint(head)
        above |= head
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
    return parent, signed(int(saved._saved_index)) % len(parent.next_functions)


def find_owners(roots: Sequence[GradientEdge]) -> Owners:
    """Walk the graph: for every node the one loss that depends on it, `SHARED` or `SPLIT`."""
    return _walk(roots)[0]


def _walk(roots: Sequence[GradientEdge], barred: Collection[Node] = ()) -> tuple[Owners, set[Node]]:
    """The owners, and the nodes where the entries that a loss depends on could not be followed.

    Args:
        roots: of the losses.
        barred: unfollowed nodes below which not to walk.
    """
    dependences = [follow(root) for root in roots]
    owner: Owners = dict.fromkeys(barred, SHARED)
    for task, dependence in enumerate(dependences):
        stack = list(dependence.mixed)
        while stack:
            node = stack.pop()
            before = owner.get(node)
            if before in (task, SHARED):
                continue
            owner[node] = task if before is None else SHARED
            stack.extend(_children(node))
    _add_followed(owner, dependences)
    return owner, {node for dependence in dependences for node in dependence.unfollowed}


def _add_followed(owner: Owners, dependences: Sequence[Dependence]) -> None:
    """Add the nodes above those that mix entries."""
    users: dict[Node, dict[int, dict[int, list[Entries]]]] = {}
    for task, dependence in enumerate(dependences):
        for (node, output), entries in dependence.entries.items():
            users.setdefault(node, {}).setdefault(output, {})[task] = entries
    for node, outputs in users.items():
        tasks = {task for users_of_output in outputs.values() for task in users_of_output}
        if node in owner:
            tasks.add(owner[node])
        if len(tasks) == 1:
            owner[node] = tasks.pop()
        elif node in owner or not node.next_functions:
            # A parameter is shared as a whole even if each loss uses rows of its own.
            owner[node] = SHARED
        else:
            split = all(len(each) == 1 or apart(list(each.values())) for each in outputs.values())
            owner[node] = SPLIT if split else SHARED


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
        leaf = leaf_of(node)
        pure[node] = leaf in shared if leaf is not None else all(pure[child] for child in children)
        stack.pop()
    return pure


def _descend(
    root: GradientEdge, trunk: Collection[Node], owner: Owners, own: Collection[int]
) -> tuple[dict[tuple[Node, int], None], set[Node], bool]:
    """How one loss enters the trunk.

    Args:
        root: of the loss.
        trunk: the nodes of the trunk.
        owner: of each node.
        own: the owners of nodes that the loss may depend on.

    Returns:
        The edges into the trunk, in order; the nodes above them; whether there are nodes beside
        these, on which the loss does not depend.
    """
    entered: dict[tuple[Node, int], None] = {}
    head: set[Node] = set()
    beside = False
    stack = [(root.node, root.output_nr)]
    while stack:
        node, output = stack.pop()
        if node in trunk:
            entered[(node, output)] = None
        elif owner.get(node) not in own:
            beside = True
        elif node not in head:
            head.add(node)
            stack.extend((child, nr) for child, nr in node.next_functions if child is not None)
    return entered, head, beside


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


def _optional_leaves(node: Node) -> set[Tensor]:
    """Leaves below some inputs of a node, but not below all of them.

    An input that is one parameter and nothing more is a weight of the operation, which then mixes
    its entries. What was compiled may hold several heads, with its parameters as inputs.
    """
    if is_compiled(node):
        return {leaf for leaf in map(leaf_of, _children(node)) if leaf is not None}
    below = [_leaves_below(child) for child in _children(node)]
    inputs = [leaves for leaves in below if len(leaves) > 1] or [set()]
    every, common = set[Tensor]().union(*inputs), inputs[0].intersection(*inputs[1:])
    return every - common


def _leaves_below(node: Node) -> set[Tensor]:
    seen = {node}
    stack = [node]
    while stack:
        new = [child for child in _children(stack.pop()) if child not in seen]
        seen.update(new)
        stack.extend(new)
    return {leaf for leaf in map(leaf_of, seen) if leaf is not None}


def leaf_of(node: Node) -> Tensor | None:
    """The parameter that an accumulation node stands for."""
    return None if node.next_functions else getattr(node, "variable", None)
