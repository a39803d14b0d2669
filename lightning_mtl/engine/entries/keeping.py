"""Rules of operations that keep entries apart."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from lightning_mtl.engine.entries.indices import flattened, groups, shifted, taken, unflattened
from lightning_mtl.engine.entries.nodes import (
    Below,
    Edge,
    Entries,
    Rule,
    all_matter,
    dims_of,
    inputs_of,
    named,
    operation_of,
    shape_of,
    signed,
)


def _elementwise(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """Every input matters at the same entries; along dimensions that were broadcast, as a whole."""
    ndim = len(shape_of((node, output)))
    for edge in inputs_of(node):
        lead = ndim - len(shape_of(edge))
        yield edge, {dim - lead: indices for dim, indices in entries.items() if dim >= lead}


def _reduced(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """A sum, a maximum and the like over some dimensions, along which everything matters."""
    for edge in inputs_of(node):
        ndim = len(shape_of(edge))
        reduced = dims_of(getattr(node, "_saved_dim", None), ndim)
        kept = [dim for dim in range(ndim) if node._saved_keepdim or dim not in reduced]
        yield edge, {kept[dim]: indices for dim, indices in entries.items()}


def _normalised(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """A softmax, a running sum and the like: everything along one dimension matters.

    So it is with choices that depend on the data: the largest few, or the scores of the labels.
    """
    for edge in inputs_of(node):
        mixed = dims_of(node._saved_dim, len(shape_of(edge)))
        yield edge, {dim: indices for dim, indices in entries.items() if dim not in mixed}


def _resampled(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """A resized or pooled image, whose channels do not mix."""
    spatial = next(int(letter) for letter in operation_of(node) if letter.isdigit())
    for edge in inputs_of(node):
        kept = len(shape_of(edge)) - spatial
        yield edge, {dim: indices for dim, indices in entries.items() if dim < kept}


def _negative_log_likelihood(
    node: Any, output: int, entries: Entries
) -> Iterator[tuple[Edge, Entries]]:
    """One loss for each sample or pixel, in which all classes, dimension 1, matter."""
    for edge in inputs_of(node):
        yield edge, {dim + (dim > 0): indices for dim, indices in entries.items()}


def _permuted(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    dims = [signed(dim) % len(node._saved_dims) for dim in node._saved_dims]
    for edge in inputs_of(node):
        yield edge, {dims[dim]: indices for dim, indices in entries.items()}


def _transposed(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    for edge in inputs_of(node):
        ndim = len(shape_of(edge))
        one, other = (
            signed(getattr(node, f"_saved_{name}", default)) % max(ndim, 1)
            for name, default in (("dim0", 0), ("dim1", 1))
        )
        swapped = {one: other, other: one}
        yield edge, {swapped.get(dim, dim): indices for dim, indices in entries.items()}


def _flipped(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    for edge in inputs_of(node):
        shape = shape_of(edge)
        mirrored = {
            dim: taken(range(shape[dim])[::-1], entries[dim])
            for dim in dims_of(node._saved_dims, len(shape))
            if dim in entries
        }
        yield edge, entries | mirrored


def _repeated(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """Copies that follow one another; an index into one of them is one into the original."""
    for edge in inputs_of(node):
        shape = shape_of(edge)
        lead = len(node._saved_repeats) - len(shape)
        below: Entries = {}
        for dim, indices in entries.items():
            if dim < lead:
                continue
            size = shape[dim - lead]
            below[dim - lead] = indices
            if indices is not None:
                inside = indices.start // size == indices[-1] // size
                copy = indices.start // size * size
                below[dim - lead] = shifted(indices, -copy) if inside else range(size)
        yield edge, below


def _reshaped(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """A view of another shape: groups of dimensions that hold the same entries in both shapes."""
    shape = shape_of((node, output))
    for edge in inputs_of(node):
        size = shape_of(edge)
        below: Entries = {}
        for dims, dims_below in groups(shape, size):
            if any(dim in entries for dim in dims):
                chosen = [entries.get(dim, range(shape[dim])) for dim in dims]
                flat = flattened(chosen, [shape[dim] for dim in dims])
                indices = unflattened(flat, [size[dim] for dim in dims_below])
                below.update(zip(dims_below, indices, strict=True))
        yield edge, below


def _concatenated(node: Any, output: int, entries: Entries) -> Below:
    """Only those inputs matter that the indices fall into."""
    shape = shape_of((node, output))
    (dim,) = dims_of(node._saved_dim, len(shape))
    if dim not in entries:
        return [(edge, entries) for edge in inputs_of(node)]
    indices, parts = entries[dim], _parts(node, dim, shape)
    if indices is None or parts is None:
        return None
    below: list[tuple[Edge, Entries]] = []
    for edge, start, size in parts:
        # The first index that is not below `start`, and as many as fit.
        first = max(0, -((indices.start - start) // indices.step))
        inside = shifted(indices[first:], -start)
        inside = inside[: len(range(inside.start, size, inside.step))]
        if inside:
            below.append((edge, entries | {dim: inside}))
    return below


def _parts(node: Any, dim: int, shape: Sequence[int]) -> list[tuple[Edge, int, int]] | None:
    """The inputs of a concatenation, with the start and size of each.

    Autograd keeps no size of an input without a gradient: there is no telling if two lack it.
    """
    # An empty tensor of one dimension may be among others of any shape.
    sizes = [
        (shape_of((child, output)) + (0,) * len(shape))[dim] if child is not None else None
        for child, output in node.next_functions
    ]
    if sizes.count(None) > 1:
        return None
    rest = shape[dim] - sum(size or 0 for size in sizes)
    full = [rest if size is None else size for size in sizes]
    starts = accumulate(full, initial=0)
    inputs = zip(node.next_functions, starts, full, strict=False)
    return [(edge, start, size) for edge, start, size in inputs if edge[0] is not None]


def _stacked(node: Any, output: int, entries: Entries) -> Below:
    """Only those inputs matter that the indices name."""
    (dim,) = dims_of(node._saved_dim, len(shape_of((node, output))))
    below = {other - (other > dim): entries[other] for other in entries if other != dim}
    indices = entries.get(dim, range(len(node.next_functions)))
    if indices is None:
        return None
    chosen = [node.next_functions[index] for index in indices]
    return [(edge, below) for edge in chosen if edge[0] is not None]


def _tapped(node: Any, output: int, entries: Entries) -> Below:
    """The same entries of what is tapped, and all of the leaf that measures it."""
    tapped, leaf, *_ = node.next_functions
    return [(edge, kept) for edge, kept in ((tapped, entries), (leaf, {})) if edge[0] is not None]


KEEPING: dict[str, Rule] = {
    "Tap": _tapped,
    **named(
        _elementwise,
        "Abs Acos Acosh Add Addcdiv Addcmul Alias Asin Asinh Atan Atan2 Atanh BinaryCrossEntropy"
        " BinaryCrossEntropyWithLogits Ceil Celu Clamp ClampMax ClampMin Clone Copysign Cos Cosh"
        " Digamma Div Elu Erf Erfc Exp Exp2 Expand Expm1 Floor Fmax Fmin Fmod Frac Gelu Hardshrink"
        " Hardsigmoid Hardswish Hardtanh HuberLoss Hypot L1Loss LeakyRelu Lerp Lgamma Log Log10"
        " Log1P Log2 LogSigmoid Logaddexp Logaddexp2 Logit MaskedFill Maximum Minimum Mish MseLoss"
        " Mul NanToNum NativeDropout Neg Pow PreluKernel Reciprocal Relu Remainder Round Rsqrt Rsub"
        " Sgn Sigmoid Sign Silu Sin Sinc Sinh SmoothL1Loss SoftMarginLoss Softplus Softshrink Sqrt"
        " Sub Tan Tanh Threshold ToCopy Trunc Where Xlog1Py Xlogy",
    ),
    **named(
        _reduced,
        "Amax Amin Kthvalue LinalgVectorNorm Logsumexp Max Mean Median Min Mode Nanmedian Nansum"
        " Norm Prod Std Sum Var",
    ),
    **named(_normalised, "Cumprod Cumsum Gather LogSoftmax Logcumsumexp Softmax Sort Topk"),
    **named(all_matter, "MaskedSelect Take"),
    **named(
        _resampled,
        "AdaptiveAvgPool2D AdaptiveAvgPool3D AdaptiveMaxPool2D AdaptiveMaxPool3D AvgPool2D"
        " AvgPool3D MaxPool2DWithIndices MaxPool3DWithIndices UpsampleBicubic2D UpsampleBicubic2DAa"
        " UpsampleBilinear2D UpsampleBilinear2DAa UpsampleLinear1D UpsampleNearest1D"
        " UpsampleNearest2D UpsampleNearest3D UpsampleNearestExact1D UpsampleNearestExact2D"
        " UpsampleNearestExact3D UpsampleTrilinear3D",
    ),
    **named(_negative_log_likelihood, "NllLoss NllLoss2D"),
    **named(_permuted, "Permute"),
    **named(_transposed, "T Transpose"),
    **named(_flipped, "Flip"),
    **named(_repeated, "Repeat"),
    **named(_reshaped, "ReshapeAlias Squeeze UnsafeView Unsqueeze View"),
    **named(_concatenated, "Cat"),
    **named(_stacked, "Stack"),
}
"""Operations that keep entries apart."""
