"""Per-task gradients: each head differentiated once, the trunk as often as a method needs."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge

from lightning_mtl.distributed import buckets
from lightning_mtl.graph import Cut

Gradients = list[Tensor]
"""One tensor for each parameter: a row of the Jacobian that is never joined into one vector."""


class TaskBackward:
    """The backward pass of one step, taken apart at the cut between heads and trunk.

    Building it differentiates every head, once. Then the trunk is differentiated from the cut: once
    for each task (`rows`), or once for all of them (`descend`).

    Args:
        roots: where the K task losses start.
        cut: the graph below them.
        own: for each task, the parameters outside the trunk.
        shared: the parameters of the trunk.
        cotangent: what the backward pass starts with: the loss scale over the number of
            accumulated batches.
    """

    def __init__(
        self,
        roots: Sequence[GradientEdge],
        cut: Cut,
        own: Sequence[Sequence[Tensor]],
        shared: Sequence[Tensor],
        cotangent: Float[Tensor, ""],
    ) -> None:
        index = {(e.node, e.output_nr): e for edges in cut.edges for e in edges}
        self._edges = list(index.values())
        # Below losses that could not be parted lie the heads too: name what is to be trained.
        self._trunk = None if cut.below else list(shared)
        self.heads: list[Gradients] = []
        self.features: list[list[Tensor | None]] = []
        for root, edges, parameters in zip(roots, cut.edges, own, strict=True):
            inputs: Any = [*edges, *parameters]
            gradients = (
                torch.autograd.grad(
                    root, inputs, cotangent, retain_graph=not cut.private, allow_unused=True
                )
                if inputs
                else ()
            )
            entered = {(e.node, e.output_nr): g for e, g in zip(edges, gradients, strict=False)}
            self.features.append([entered.get(key) for key in index])
            self.heads.append(_filled(gradients[len(edges) :], parameters))

    def rows(self, inputs: Sequence[Tensor], keep_graph: bool = False) -> list[Gradients]:
        """The gradient of every task with respect to `inputs`, tensors of the trunk."""
        rows = []
        for task, features in enumerate(self.features):
            last = task == len(self.features) - 1
            edges, cotangents = self._reached(features)
            gradients = (
                torch.autograd.grad(
                    edges,
                    inputs,
                    cotangents,
                    retain_graph=keep_graph or not last,
                    allow_unused=True,
                )
                if edges
                else (None,) * len(inputs)
            )
            rows.append(_filled(gradients, inputs))
        return rows

    def feature_rows(self) -> list[Gradients]:
        """The gradient of every task at the cut itself, where the heads leave the trunk."""
        columns = list(zip(*self.features, strict=True))
        likes = [next(g for g in column if g is not None) for column in columns]
        return [_filled(row, likes) for row in self.features]

    def descend(self, weights: Sequence[Float[Tensor, ""] | float]) -> None:
        """Accumulate the weighted sum of the task gradients into the trunk, in one pass."""
        combined = []
        for column in zip(*self.features, strict=True):
            reached = [(g, w) for g, w in zip(column, weights, strict=True) if g is not None]
            # Summed in float32 at least: a weight rounded to bfloat16 is not the weight we log.
            total = sum(g.to(_wide(g)) * w for g, w in reached)
            combined.append(torch.as_tensor(total).to(reached[0][0].dtype))
        if combined:
            torch.autograd.backward(self._edges, combined, inputs=self._trunk)

    def _reached(
        self, features: Sequence[Tensor | None]
    ) -> tuple[list[GradientEdge], list[Tensor]]:
        pairs = [(e, g) for e, g in zip(self._edges, features, strict=True) if g is not None]
        return [edge for edge, _ in pairs], [gradient for _, gradient in pairs]


def gramian(rows: Sequence[Sequence[Tensor]]) -> Float[Tensor, "K K"]:
    """J Jᵀ, summed bucket by bucket: no joined copy of J, and no tensor-core rounding.

    Dot products keep float32 where a matrix product may silently run in TF32.
    """
    tasks = len(rows)
    if not rows or not rows[0]:
        raise ValueError(
            "No shared parameters were found, so there are no gradients to balance. Expected at"
            " least one trainable parameter that two tasks use. Use a loss-level weighting, or"
            " override `shared_parameters()`."
        )
    entries: list[list[Tensor]] = []
    for parts in zip(*(buckets(row) for row in rows), strict=True):
        flat = [_flat(part) for part in parts]
        entries.append([torch.dot(flat[i], flat[j]) for i in range(tasks) for j in range(i + 1)])
    sums = torch.stack([torch.stack(part) for part in entries]).sum(0)
    full = sums.new_zeros(tasks, tasks)
    lower = torch.tril_indices(tasks, tasks, device=sums.device)
    full[lower[0], lower[1]] = sums
    full[lower[1], lower[0]] = sums
    return full


def norms(rows: Sequence[Gradients]) -> Float[Tensor, " K"]:
    """||g_k|| of every row."""
    lengths = [torch.stack(torch._foreach_norm(row, dtype=_wide(row[0]))) for row in rows]
    return torch.linalg.vector_norm(torch.stack(lengths), dim=1)


def combine(rows: Sequence[Gradients], weights: Sequence[float]) -> Gradients:
    """The sum of the rows, weighted: w @ J."""
    first, *others = rows
    # Not in place: autograd may hand out one tensor for two parameters, or an expanded one.
    total = list(torch._foreach_mul(first, weights[0]))
    for row, weight in zip(others, weights[1:], strict=True):
        torch._foreach_add_(total, row, alpha=weight)
    return total


def add(total: Gradients | None, gradients: Gradients) -> Gradients:
    """Accumulate over micro-batches; not in place, for the same reason as in `combine`."""
    return list(torch._foreach_add(total, gradients)) if total else gradients


def merge(
    parts: Iterable[tuple[Sequence[Tensor], Sequence[Tensor]]],
) -> tuple[list[Tensor], list[Tensor]]:
    """Join lists of parameters and gradients; a parameter that occurs twice gets the sum.

    DDP counts how often a parameter's hook fires, so each may be written once a step.
    """
    merged: dict[Tensor, Tensor] = {}
    for parameters, gradients in parts:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            known = merged.get(parameter)
            merged[parameter] = gradient if known is None else known + gradient
    return list(merged), list(merged.values())


def write(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """Add to `.grad` through the leaves' own accumulation nodes.

    This is a backward pass of no depth: hooks fire, so DDP reduces its buckets, and gradients
    accumulate over micro-batches, exactly as after `loss.backward()`.
    """
    if parameters:
        torch.autograd.backward(list(parameters), list(gradients))


def _flat(part: Sequence[Tensor]) -> Float[Tensor, " n"]:
    joined = part[0].flatten() if len(part) == 1 else torch.cat([t.flatten() for t in part])
    return joined.to(_wide(joined))


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _filled(gradients: Sequence[Tensor | None], likes: Sequence[Tensor]) -> Gradients:
    return [
        torch.zeros_like(like) if gradient is None else gradient
        for gradient, like in zip(gradients, likes, strict=True)
    ]
