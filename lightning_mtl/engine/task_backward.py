"""The backward pass of one step, taken apart by tasks.

Every head is differentiated once, the trunk as often as a method needs.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge

from lightning_mtl.engine.entries.nodes import metadata_of
from lightning_mtl.engine.errors import CompiledBackwardError, SparseGradientError
from lightning_mtl.engine.gradients import Gradients, accumulation_dtype, zeros_for_none
from lightning_mtl.engine.graph import Cut
from lightning_mtl.engine.hooks import held_back

Cotangent = Float[Tensor, ""]
Weights = Sequence[Tensor]
Partial = tuple[Tensor | None, ...]
"""Gradients, `None` where there is none."""


def task_backward(
    roots: Sequence[GradientEdge],
    parted: Cut | None,
    shared: Sequence[Tensor],
    task_specific: Sequence[Sequence[Tensor]],
    cotangents: Sequence[Cotangent],
    keep_graph: bool,
    hooked: bool = False,
    names: Mapping[Any, str] | None = None,
) -> "TaskBackward":
    """The backward pass of K losses, by the cheapest way that the graph allows.

    Args:
        roots: where the task losses start.
        parted: where they enter the trunk, see `lightning_mtl.engine.graph.cut`.
        shared: the parameters of the trunk.
        task_specific: for each task, the parameters that only this task uses.
        cotangents: what each task's pass starts with: the loss scale over the number of
            accumulated batches, times the number of labels where tasks are weighted by these.
        keep_graph: whether the graph will be needed again.
        hooked: whether hooks were registered during the forward pass. One that changes the gradient
            of a tensor at the cut would do so twice, as it arrives there and enters the trunk.
        names: of the parameters, for messages.
    """
    if parted is None or (hooked and _is_changed(parted)):
        return RootBackward(roots, parted, task_specific, shared, cotangents, names)
    return CutBackward(roots, parted, task_specific, cotangents, keep_graph, names)


class TaskBackward(ABC):
    """K backward passes that share what they can.

    Args:
        names: of the parameters, for messages.
    """

    def __init__(self, names: Mapping[Any, str] | None) -> None:
        self._names = names or {}

    @property
    @abstractmethod
    def heads(self) -> list[Gradients]:
        """For each task the gradients of the parameters that only this task uses."""

    @abstractmethod
    def passes(self, inputs: Sequence[Tensor], keep_graph: bool) -> Iterator[Partial]:
        """For each task its gradients with respect to `inputs`, tensors of the trunk, in turn."""

    def each_row(self, inputs: Sequence[Tensor], keep_graph: bool = False) -> Iterator[Gradients]:
        """As `passes`, with zeros for what a task does not reach; holds on to none of them.

        Raises:
            SparseGradientError: if one of them is sparse, of which there are no inner products.
        """

        def dense(gradients: Partial) -> Gradients:
            self._check_dense(inputs, gradients)
            return zeros_for_none(gradients, inputs)

        # A generator of our own would keep the last row alive while the next one is computed.
        return map(dense, self.passes(inputs, keep_graph))

    def rows(self, inputs: Sequence[Tensor], keep_graph: bool = False) -> list[Gradients]:
        """As `each_row`, all at once."""
        return list(self.each_row(inputs, keep_graph))

    def rows_at(self, features: Sequence[Tensor]) -> list[Gradients]:
        """As `rows`, at the tensors that the user names as the shared features.

        Raises:
            ValueError: if no task reaches one of them.
        """
        passes = list(self.passes(features, keep_graph=True))
        for feature, *gradients in zip(features, *passes, strict=True):
            if all(gradient is None for gradient in gradients):
                raise ValueError(
                    "`shared_features()` should return tensors that the losses of this step are"
                    f" computed from. Found one of shape {tuple(feature.shape)} that none of them"
                    " reaches. Keep the tensor that the heads receive, anew in every step."
                )
        return [zeros_for_none(gradients, features) for gradients in passes]

    @abstractmethod
    def feature_rows(self) -> list[Gradients]:
        """For each task its gradients where its head leaves the trunk."""

    @abstractmethod
    def backward_weighted(self, weights: Weights) -> None:
        """Accumulate the weighted sum of the task gradients into the trunk, in one pass."""

    def _check_dense(self, inputs: Sequence[Tensor], gradients: Partial) -> None:
        for parameter, gradient in zip(inputs, gradients, strict=True):
            if gradient is not None and gradient.layout != torch.strided:
                raise SparseGradientError(self._names.get(parameter), tuple(parameter.shape))


class CutBackward(TaskBackward):
    """Heads first, down to the cut; then the trunk from there.

    What `retain_grad` keeps of a tensor at the cut is the gradient that enters the trunk. Passes
    that only measure send it back out again.

    Args:
        roots: where the K task losses start.
        cut: where they enter the trunk.
        task_specific: for each task, the parameters that only this task uses.
        cotangents: what each backward pass starts with, see `task_backward`.
        keep_graph: whether the heads will be differentiated again.
        names: of the parameters, for messages.
    """

    def __init__(
        self,
        roots: Sequence[GradientEdge],
        cut: Cut,
        task_specific: Sequence[Sequence[Tensor]],
        cotangents: Sequence[Cotangent],
        keep_graph: bool = False,
        names: Mapping[Any, str] | None = None,
    ) -> None:
        super().__init__(names)
        keep_graph = keep_graph or not cut.private
        self._cut = cut
        index = cut.distinct
        self._edges = list(index.values())
        self._heads: list[Gradients] = []
        self._features: list[list[Tensor | None]] = []
        starts = zip(roots, cotangents, cut.edges, task_specific, strict=True)
        # A leaf at the cut is a shared parameter, which its gradient reaches from the trunk's side.
        with held_back(cut.leaves):
            for root, cotangent, edges, parameters in starts:
                gradients = _grad([root], [cotangent], [*edges, *parameters], keep_graph)
                entered = {(e.node, e.output_nr): g for e, g in zip(edges, gradients, strict=False)}
                self._features.append([entered.get(key) for key in index])
                self._heads.append(zeros_for_none(gradients[len(edges) :], parameters))
        self._forget_measured()

    @property
    def heads(self) -> list[Gradients]:
        """Gradients of the task-specific parameters, computed in the constructor."""
        return self._heads

    def passes(self, inputs: Sequence[Tensor], keep_graph: bool) -> Iterator[Partial]:
        """K backward passes through the trunk, each from where a head leaves it."""
        for task, features in enumerate(self._features):
            last = task == len(self._features) - 1
            reached = [(e, g) for e, g in zip(self._edges, features, strict=True) if g is not None]
            edges, cotangents = [e for e, _ in reached], [g for _, g in reached]
            yield _grad(edges, cotangents, inputs, keep_graph or not last)
        if keep_graph:
            self._forget_measured()

    def feature_rows(self) -> list[Gradients]:
        """For each task its gradients at the cut, where its head leaves the trunk."""
        columns = list(zip(*self._features, strict=True))
        likes = [next(g for g in column if g is not None) for column in columns]
        return [zeros_for_none(row, likes) for row in self._features]

    def backward_weighted(self, weights: Weights) -> None:
        """One backward pass through the trunk, from the weighted gradients at the cut."""
        combined = []
        for column in zip(*self._features, strict=True):
            reached = [(g, w) for g, w in zip(column, weights, strict=True) if g is not None]
            # Summed in float32 at least: a weight rounded to bfloat16 is not the weight we log.
            total = sum(g.to(accumulation_dtype(g)) * w for g, w in reached)
            combined.append(torch.as_tensor(total).to(reached[0][0].dtype))
        if combined:
            torch.autograd.backward(self._edges, combined)

    def _forget_measured(self) -> None:
        """Take out of `retain_grad`'s sums what K passes have brought to the cut.

        A gradient that is sent to an edge and asked for at the same edge goes through the hooks of
        its tensor, of which `retain_grad` is the only one here, and no further.
        """
        columns = dict(zip(self._edges, zip(*self._features, strict=True), strict=True))
        edges, sums = [], []
        for edge in self._cut.inner:
            reached = [gradient for gradient in columns[edge] if gradient is not None]
            if reached:
                edges.append(edge)
                # Summed in the order in which they came: what is left is zero, without rounding.
                sums.append(-sum(reached[1:], start=reached[0]))
        _grad(edges, sums, edges, keep_graph=True)


class RootBackward(TaskBackward):
    """For graphs that are not parted: every pass starts at the loss, and heads come along.

    As cheap as a cut for K full passes; dearer by the heads for everything else.

    Args:
        roots: where the K task losses start.
        cut: where they enter the trunk, if it can be entered there.
        task_specific: for each task, the parameters that only this task uses.
        shared: the parameters of the trunk.
        cotangents: see `task_backward`.
        names: of the parameters, for messages.
    """

    def __init__(
        self,
        roots: Sequence[GradientEdge],
        cut: Cut | None,
        task_specific: Sequence[Sequence[Tensor]],
        shared: Sequence[Tensor],
        cotangents: Sequence[Cotangent],
        names: Mapping[Any, str] | None = None,
    ) -> None:
        super().__init__(names)
        self._roots = roots
        self._cut = cut
        self._task_specific = task_specific
        self._shared = shared
        self._cotangents = cotangents
        self._heads: list[Gradients] | None = None

    @property
    def heads(self) -> list[Gradients]:
        """Gradients of the task-specific parameters; costs K passes unless `passes` has run."""
        if self._heads is None:
            list(self.passes([], keep_graph=True))
        assert self._heads is not None
        return self._heads

    def passes(self, inputs: Sequence[Tensor], keep_graph: bool) -> Iterator[Partial]:
        """K backward passes from the losses; the last one completes the gradients of the heads."""
        heads: list[Gradients] = []
        for task in range(len(self._roots)):
            yield self._pass(task, inputs, keep_graph or task < len(self._roots) - 1, heads)
        if self._heads is None:
            self._heads = heads

    def _pass(
        self, task: int, inputs: Sequence[Tensor], keep_graph: bool, heads: list[Gradients]
    ) -> Partial:
        parameters = self._task_specific[task] if self._heads is None else []
        wanted = [*inputs, *parameters]
        gradients = _grad([self._roots[task]], [self._cotangents[task]], wanted, keep_graph)
        heads.append(zeros_for_none(gradients[len(inputs) :], parameters))
        return gradients[: len(inputs)]

    def feature_rows(self) -> list[Gradients]:
        """For each task its gradients where its head leaves the trunk, by passes of their own.

        Raises:
            ValueError: if nothing in the graph says where that is.
        """
        if self._cut is None:
            raise ValueError(
                "The heads should leave the trunk at tensors that are not computed from one"
                " another. Found a graph where they do, as the stages of an encoder with skip"
                " connections are, or a head that uses a parameter of the trunk, so that the shared"
                " features are not known. Pass what the heads receive through"
                " `lightning_mtl.join_features`, or override `shared_features()`."
            )
        heads = CutBackward(
            self._roots,
            self._cut,
            [[] for _ in self._roots],
            self._cotangents,
            keep_graph=True,
            names=self._names,
        )
        return heads.feature_rows()

    def backward_weighted(self, weights: Weights) -> None:
        """One backward pass from the weighted losses, for the shared parameters only."""
        pairs = zip(self._cotangents, weights, strict=True)
        cotangents = [cotangent * weight.to(cotangent) for cotangent, weight in pairs]
        if self._roots and self._shared:
            torch.autograd.backward(list(self._roots), cotangents, inputs=list(self._shared))


def _is_changed(parted: Cut) -> bool:
    """Whether a hook changes gradients at the cut, found by sending zeros there."""
    zeros = []
    for edge in parted.inner:
        meta = metadata_of((edge.node, edge.output_nr))
        zeros.append(torch.zeros(meta.shape, dtype=meta.dtype, device=meta.device))
    # All at once: hooks on other outputs of the same operation would be called without a gradient.
    returned = _grad(parted.inner, zeros, parted.inner, keep_graph=True)
    return any(gradient is not zero for gradient, zero in zip(returned, zeros, strict=True))


def _grad(
    outputs: Sequence[GradientEdge],
    cotangents: Sequence[Tensor],
    inputs: Sequence[Any],
    keep_graph: bool,
) -> Partial:
    """`torch.autograd.grad` of several outputs.

    Returns `None` for unreachable inputs, and an empty tuple if there are no inputs.
    """
    if not inputs or not outputs:
        return (None,) * len(inputs)
    try:
        return torch.autograd.grad(
            outputs, inputs, cotangents, retain_graph=keep_graph, allow_unused=True
        )
    except RuntimeError as error:
        if "donated buffer" in str(error):
            raise CompiledBackwardError from error
        raise
