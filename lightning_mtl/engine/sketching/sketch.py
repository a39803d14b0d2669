"""Sketching the weight gradients of one forward pass and its backward passes."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual
from torch.autograd.graph import GradientEdge, Node
from torch.nn import Module, Parameter
from torch.utils.hooks import RemovableHandle

from lightning_mtl.engine.gradients import accumulation_dtype
from lightning_mtl.engine.sketching.layers import groups_of, project, weights_to_sketch
from lightning_mtl.engine.sketching.signs import draw_signs
from lightning_mtl.engine.sketching.tap import SketchedWeight, tap
from lightning_mtl.engine.sketching.uses import Call, nodes_below, used_elsewhere


class Sketch:
    """Replaces the weights of linear layers and convolutions by leaves with smaller gradients.

    To every such layer y = W x it adds G (A x), with random signs A of s rows, divided by √s, and
    G = 0. The gradient of G is that of W times Aᵀ. For two losses the inner product of these is, in
    expectation over A, that of their weight gradients, and no weight gradient is computed for it:

        E <∇_G L_i, ∇_G L_j> = tr(∇_W L_i E[Aᵀ A] (∇_W L_j)ᵀ) = <∇_W L_i, ∇_W L_j>

    The standard deviation is at most √(2 / s) ‖∇_W L_i‖ ‖∇_W L_j‖ for one weight, and errors of
    different weights are independent. All other parameters are exact: biases, those of other
    layers, weights that are no larger than their sketch, and those that something else than the
    layer uses in this graph. Neither outputs nor the state of the module change.

    One object serves one forward pass: `install` before it, `settle` after it, then one backward
    pass for each loss with respect to `inputs`, `pause` before the ordinary one, and `remove`.

    Args:
        module: whose layers are sketched.
        shared: the parameters that gradients are measured of.
        rows: s, how many rows a sketch has.
        seed: of A. Draw with the same one on all ranks and in all micro-batches whose gradients are
            added up, and with another one at the next measurement.

    Example:
        >>> import torch
        >>> from torch.autograd.graph import get_gradient_edge
        >>> layer = torch.nn.Linear(64, 3)
        >>> with Sketch(layer, list(layer.parameters()), rows=4, seed=0) as sketch:
        ...     loss = layer(torch.ones(2, 64)).sum()
        ...     sketch.settle([get_gradient_edge(loss)])
        ...     gradients = torch.autograd.grad(loss, sketch.inputs)
        >>> [tuple(gradient.shape) for gradient in gradients]
        [(3, 4), (3,)]
    """

    def __init__(self, module: Module, shared: Sequence[Parameter], rows: int, seed: int) -> None:
        self._module = module
        self._shared = list(shared)
        self._layers = weights_to_sketch(module, shared, rows)
        self._weights = _draw(self._layers, rows, seed)
        self._handles: list[RemovableHandle] = []
        self._calls: dict[Tensor, list[Call]] = {weight: [] for weight in self._layers}
        self._sketched: list[SketchedWeight] = []
        self._settled = False

    def __enter__(self) -> "Sketch":
        self.install()
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()

    def install(self) -> None:
        """Watch the layers. Called before the forward pass."""
        for layer in (layer for layers in self._layers.values() for layer in layers):
            # Before the hooks of a user, which may change the output.
            hook = layer.register_forward_hook(self._after_call, prepend=True, with_kwargs=True)
            self._handles.append(hook)

    def settle(
        self, roots: Sequence[GradientEdge], owners: Mapping[Node, Any] | None = None
    ) -> None:
        """Decide which weights are sketched. Called after the forward pass.

        Args:
            roots: of the losses.
            owners: what `find_owners` returned for them, if the graph has been walked already.
        """
        nodes = nodes_below(roots) if owners is None else owners
        exact = used_elsewhere(nodes, self._calls)
        self._sketched = [own for weight, own in self._weights.items() if weight not in exact]
        self._settled = True
        self._calls.clear()
        self._measure(True)

    def keep_exact(self, weights: Collection[Tensor]) -> None:
        """Sketch these no longer. Called after `settle`, where ranks or micro-batches differ."""
        self._measure(False)
        exact = set(weights)
        self._sketched = [own for own in self._sketched if own.weight not in exact]
        self._measure(True)

    @property
    def sketched(self) -> list[Parameter]:
        """The weights that are sketched."""
        return [own.weight for own in self._sketched]

    @property
    def exact(self) -> list[Parameter]:
        """The shared parameters whose gradients are computed as they are."""
        sketched = set(self.sketched)
        return [parameter for parameter in self._shared if parameter not in sketched]

    @property
    def inputs(self) -> list[Tensor]:
        """What to differentiate with respect to: the leaves of the sketched weights, then `exact`.

        A leaf or parameter that the graph does not reach has a gradient of zero.
        """
        return [*(own.leaf for own in self._sketched), *self.exact]

    @property
    def leaves(self) -> list[Tensor]:
        """The leaves that the graph may hold beside parameters, also those of weights kept exact.

        They belong to the shared parameters.
        """
        return [own.leaf for own in self._weights.values()]

    def identity(self) -> list[str]:
        """What averages of these gradients belong to: names of parameters and shapes of `inputs`.

        Averages of gradients, other than averages of inner products, belong to one seed as well.
        """
        names = {parameter: name for name, parameter in self._module.named_parameters()}
        parameters = [*self.sketched, *self.exact]
        return [
            f"{names[parameter]} {tuple(leaf.shape)}"
            for parameter, leaf in zip(parameters, self.inputs, strict=True)
        ]

    def pause(self) -> None:
        """Compute no gradients of `leaves` any more. Called before the pass that trains."""
        self._measure(False)

    def remove(self) -> None:
        """Leave the module as it was. Called after the last backward pass, or on an error.

        Not before that: checkpointed layers are run once more within a backward pass.
        """
        self._measure(False)
        self._calls.clear()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _measure(self, measured: bool) -> None:
        for own in self._sketched:
            own.measured = measured

    def _after_call(self, layer: Any, args: Any, kwargs: Any, y: Any) -> Any:
        """The output of a layer that was called, tapped where that can be done."""
        if torch.compiler.is_compiling():
            return None
        x: Any = args[0] if args else kwargs.get("input")
        # Another tensor where somebody has replaced the parameter for the time of a call.
        own = self._weights.get(layer.weight)
        if own is None or groups_of(layer) != own.groups or not (_is_usual(x) and _is_usual(y)):
            return None
        if not y.requires_grad or y._backward_hooks:
            return None
        with torch.no_grad():
            projected = project(layer, x, own.projection)
        tapped: Any = tap(y, projected, own)
        if not self._settled:
            self._calls[own.weight].append(Call(y.grad_fn, tapped.grad_fn))
        return tapped


def _draw(
    layers: Mapping[Parameter, Sequence[Module]], rows: int, seed: int
) -> dict[Tensor, SketchedWeight]:
    """A sketch of each weight; one that layers use in different groups is that of the first."""
    groups = [groups_of(own[0]) for own in layers.values()]
    shapes = [
        (count * rows, *weight.shape[1:]) for count, weight in zip(groups, layers, strict=True)
    ]
    projections = draw_signs(shapes, list(layers), rows, seed)
    return {
        weight: SketchedWeight(weight, count, projection, _leaf(weight, rows))
        for weight, count, projection in zip(layers, groups, projections, strict=True)
    }


def _leaf(weight: Tensor, rows: int) -> Float[Tensor, "out s"]:
    """A leaf of which nobody reads the values, so that it needs neither memory nor zeros."""
    number = weight.detach().new_empty((), dtype=accumulation_dtype(weight))
    return number.expand(weight.shape[0], rows).requires_grad_()


def _is_usual(tensor: Any) -> bool:
    """Whether something is an ordinary tensor of which ordinary autograd keeps track."""
    usual = type(tensor) in (Tensor, Parameter) and tensor.layout == torch.strided
    if not usual or torch._C._are_functorch_transforms_active():
        return False
    return unpack_dual(tensor).tangent is None
