"""The backward pass of one step, taken apart by tasks.

Every head is differentiated once, the trunk as often as a method needs.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge

from lightning_mtl.engine.gradients import Gradients, accumulation_dtype, zeros_for_none
from lightning_mtl.engine.graph import Cut

Cotangent = Float[Tensor, ""]
Weights = Sequence[Tensor]
Partial = tuple[Tensor | None, ...]
"""Gradients, `None` where there is none."""


class TaskBackward(ABC):
    """K backward passes that share what they can."""

    @property
    @abstractmethod
    def heads(self) -> list[Gradients]:
        """For each task the gradients of the parameters that only this task uses."""

    @abstractmethod
    def passes(self, inputs: Sequence[Tensor], keep_graph: bool) -> Iterator[Partial]:
        """For each task its gradients with respect to `inputs`, tensors of the trunk, in turn."""

    def each_row(self, inputs: Sequence[Tensor], keep_graph: bool = False) -> Iterator[Gradients]:
        """As `passes`, with zeros for what a task does not reach; holds on to none of them."""
        # A generator of our own would keep the last row alive while the next one is computed.
        return map(partial(zeros_for_none, likes=inputs), self.passes(inputs, keep_graph))

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


class CutBackward(TaskBackward):
    """Heads first, down to the cut; then the trunk from there.

    Args:
        roots: where the K task losses start.
        cut: where they enter the trunk.
        task_specific: for each task, the parameters that only this task uses.
        cotangent: what the backward pass starts with: the loss scale over the number of
            accumulated batches.
        keep_graph: whether the heads will be differentiated again.
    """

    def __init__(
        self,
        roots: Sequence[GradientEdge],
        cut: Cut,
        task_specific: Sequence[Sequence[Tensor]],
        cotangent: Cotangent,
        keep_graph: bool = False,
    ) -> None:
        keep_graph = keep_graph or not cut.private
        index = {(e.node, e.output_nr): e for edges in cut.edges for e in edges}
        self._edges = list(index.values())
        self._heads: list[Gradients] = []
        self._features: list[list[Tensor | None]] = []
        for root, edges, parameters in zip(roots, cut.edges, task_specific, strict=True):
            gradients = _grad([root], [cotangent], [*edges, *parameters], keep_graph)
            entered = {(e.node, e.output_nr): g for e, g in zip(edges, gradients, strict=False)}
            self._features.append([entered.get(key) for key in index])
            self._heads.append(zeros_for_none(gradients[len(edges) :], parameters))

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


class RootBackward(TaskBackward):
    """For graphs that cannot be cut: every pass starts at the loss, and heads come along.

    As cheap as a cut for K full passes; dearer by the heads for everything else.

    Args:
        roots: where the K task losses start.
        task_specific: for each task, the parameters that only this task uses.
        shared: the parameters of the trunk.
        cotangent: see `CutBackward`.
    """

    def __init__(
        self,
        roots: Sequence[GradientEdge],
        task_specific: Sequence[Sequence[Tensor]],
        shared: Sequence[Tensor],
        cotangent: Cotangent,
    ) -> None:
        self._roots = roots
        self._task_specific = task_specific
        self._shared = shared
        self._cotangent = cotangent
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
        gradients = _grad([self._roots[task]], [self._cotangent], wanted, keep_graph)
        heads.append(zeros_for_none(gradients[len(inputs) :], parameters))
        return gradients[: len(inputs)]

    def feature_rows(self) -> list[Gradients]:
        """Refuse, since nothing in the graph says where the shared features are.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "The heads should leave the trunk at tensors that are not computed from one another."
            " Found a graph where they do, as the stages of an encoder with skip connections are,"
            " or a head that uses a parameter of the trunk, so that the shared features are not"
            " known. Pass what the heads receive through `lightning_mtl.join_features`, or override"
            " `shared_features()`."
        )

    def backward_weighted(self, weights: Weights) -> None:
        """One backward pass from the weighted losses, for the shared parameters only."""
        cotangents = [self._cotangent * weight.to(self._cotangent) for weight in weights]
        if self._roots and self._shared:
            torch.autograd.backward(list(self._roots), cotangents, inputs=list(self._shared))


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
    return torch.autograd.grad(
        outputs, inputs, cotangents, retain_graph=keep_graph, allow_unused=True
    )
