"""Graphs that have been walked before, so that their parts need not be found again.

The graphs of most steps differ in their nodes and not in their shape. One look at every node tells
the shape; what was found of the first graph of a shape holds for all others, node by node.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor
from torch.autograd.graph import GradientEdge, Node
from torch.nn import Parameter

from lightning_mtl.engine.entries.choices import Choices
from lightning_mtl.engine.entries.follow import examined_by
from lightning_mtl.engine.graph import Cut, Reach, cut, leaf_of, reach

MOST = 32
"""How many shapes are remembered: the tasks of a batch may come in many combinations."""

Shape = tuple[object, ...]
"""For every node its operation and which outputs of which nodes it uses.

For a leaf its identity, which stays its own, as what is known of a shape holds on to its leaves.
"""

Place = tuple[int, int]
"""An edge of a graph: which node, by its number, and which of its outputs."""


@dataclass
class _Known:
    """What was found of the first graph of a shape.

    Attributes:
        examined: numbers of the nodes that were asked which entries matter.
        choices: what they said.
        reached: its leaves, without the graph itself.
        owners: of its nodes, by their numbers.
        shared: the shared parameters that `edges` belong to.
        edges: where each loss enters the trunk; `None` where there is no cut.
        private: see `Cut`.
    """

    examined: list[int]
    choices: Choices
    reached: Reach
    owners: list[tuple[int, int]]
    shared: Sequence[Tensor] | None = None
    edges: list[list[Place]] | None = None
    private: bool = False


@dataclass
class _Walked:
    """The nodes of one graph in the order of its shape, and what is known of that shape."""

    nodes: list[Node]
    known: _Known
    numbers: dict[Node, int] = field(default_factory=dict)


class KnownGraphs:
    """Finds leaves and cut of a graph by those of an earlier graph of the same shape."""

    def __init__(self) -> None:
        self._shapes: dict[Shape, list[_Known]] = {}
        self._latest: tuple[Reach, _Walked] | None = None

    def reach(self, roots: Sequence[GradientEdge]) -> Reach:
        """Which leaves these losses reach, as `lightning_mtl.engine.graph.reach` finds them.

        Args:
            roots: of the losses.
        """
        self._latest = None
        numbers: dict[Node, int] = {}
        shape = _shape(roots, numbers)
        if shape is None:
            return reach(roots)
        nodes = list(numbers)
        for known in self._shapes.get(shape, ()):
            if known.choices.hold_for([nodes[number] for number in known.examined]):
                leaves = known.reached
                owned = {nodes[number]: task for number, task in known.owners}
                found = Reach(leaves.shared, leaves.task_specific, owned, roots)
                self._latest = found, _Walked(nodes, known, numbers)
                return found
        found = reach(roots)
        examined = list(dict.fromkeys(node for root in roots for node in examined_by(root)))
        choices = Choices.of(examined)
        # What cannot be followed is looked at anew in each step.
        if choices is not None and not found.unfollowed:
            owners = [(numbers[node], task) for node, task in found.owners.items()]
            leaves = Reach(found.shared, found.task_specific, {})
            known = _Known([numbers[node] for node in examined], choices, leaves, owners)
            self._remember(shape, known)
            self._latest = found, _Walked(nodes, known, numbers)
        return found

    def _remember(self, shape: Shape, known: _Known) -> None:
        self._shapes.setdefault(shape, []).append(known)
        if sum(map(len, self._shapes.values())) > MOST:
            del self._shapes[next(iter(self._shapes))]

    def cut(self, reached: Reach, shared: Sequence[Tensor]) -> Cut | None:
        """The cut of the graph that was looked at last, as `lightning_mtl.engine.graph.cut` has it.

        Args:
            reached: what `reach` returned for it.
            shared: the shared parameters; the same list as long as they are the same.
        """
        if self._latest is None or self._latest[0] is not reached:
            return cut(reached.roots, shared, reached.owners)
        walked = self._latest[1]
        known = walked.known
        if known.shared is not shared:
            parted = cut(reached.roots, shared, reached.owners)
            known.shared = shared
            known.edges = None if parted is None else _places(parted, walked.numbers)
            known.private = parted is not None and parted.private
            return parted
        if known.edges is None:
            return None
        nodes = walked.nodes
        edges = [[GradientEdge(nodes[node], nr) for node, nr in task] for task in known.edges]
        return Cut(edges, known.private)

    def release(self) -> None:
        """Let go of the latest graph. Called when its backward pass is over."""
        self._latest = None


def _shape(roots: Sequence[GradientEdge], numbers: dict[Node, int]) -> Shape | None:
    """The shape of a graph; `None` if it has inputs as leaves, which are others in every batch.

    Args:
        roots: of the losses.
        numbers: filled with the number of each node.
    """
    shape: list[object] = []
    for root in roots:
        shape += (numbers.setdefault(root.node, len(numbers)), root.output_nr)
    order = list(numbers)
    for node in order:
        below = node.next_functions
        if not below:
            leaf = leaf_of(node)
            if not isinstance(leaf, Parameter):
                return None
            shape.append(id(leaf))
            continue
        shape.append(node.name())
        for child, output in below:
            if child is None:
                shape.append(None)
                continue
            number = numbers.get(child)
            if number is None:
                number = numbers[child] = len(order)
                order.append(child)
            shape += (number, output)
    return tuple(shape)


def _places(parted: Cut, numbers: dict[Node, int]) -> list[list[Place]]:
    return [[(numbers[edge.node], edge.output_nr) for edge in task] for task in parted.edges]
