"""Which entries of each tensor one loss depends on, followed from the loss down its autograd graph.

The losses of several tasks are often entries of one vector, or means over columns of one matrix.
Autograd differentiates such an entry through everything that the whole vector is computed from, and
sends zeros where the entry does not depend on it, so that every head looks as if each loss used it.
The operations tell what an entry depends on. The numbers do not: a gradient may happen to be zero,
as below a head that was initialised with zeros.

Entries are followed while the operations keep them apart, and no further than the first one that
mixes them, such as a linear layer.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import gcd, prod
from typing import Any

from torch.autograd.graph import GradientEdge, Node

Entries = dict[int, range | None]
"""The indices that matter along some dimensions of a tensor; along the others all of them do.

`None` stands for some indices of which the graph does not say which.
"""

Edge = tuple[Node, int]
"""One output of an operation: the node, and the number of the output."""

Below = Iterable[tuple[Edge, Entries]] | None
"""The entries of an operation's inputs that matter; `None` if there is no telling."""

Rule = Callable[[Any, int, Entries], Below]
"""What matters below a node, given one of its outputs and the entries of it that matter.

The node is of type `Any` since its saved attributes are not typed.
"""

MOST = 64
"""How many sets of entries of one tensor are told apart, before the whole tensor is taken."""


@dataclass(frozen=True)
class Dependence:
    """What one loss depends on.

    Attributes:
        entries: the outputs above the first operations that mix entries, and for each of them the
            sets of entries that the loss depends on.
        mixed: the nodes which the loss depends on with everything below them.
        unfollowed: those nodes in `mixed` where entries were lost: the loss may depend on some of
            their inputs only.
    """

    entries: dict[Edge, list[Entries]]
    mixed: list[Node]
    unfollowed: list[Node]


def follow(root: GradientEdge) -> Dependence:
    """What the loss at `root` depends on."""
    if not _selects(root.node):
        return Dependence({}, [root.node], [])
    found = Dependence({}, [], [])
    stack: list[tuple[Edge, Entries]] = [((root.node, root.output_nr), {})]
    while stack:
        edge, entries = stack.pop()
        if entries:
            entries = _proper(entries, _shape(edge))
        known = found.entries.get(edge, [])
        if {} in known or entries in known:
            continue
        if len(known) == MOST:
            entries = {}
        below = _below(edge, entries)
        if below is None:
            found.mixed.append(edge[0])
            if entries or is_compiled(edge[0]):
                found.unfollowed.append(edge[0])
        else:
            found.entries[edge] = [*known, entries] if entries else [entries]
            stack.extend(below)
    return found


def is_compiled(node: Node) -> bool:
    """Whether a node is a graph compiled by `torch.compile`, of which nothing else is known."""
    return node.name().startswith("CompiledFunction")


def apart(tasks: Sequence[Sequence[Entries]]) -> bool:
    """Whether no two tasks depend on the same entry of a tensor.

    Args:
        tasks: for each task, the sets of entries that it depends on.
    """
    every = [(task, entries) for task, sets in enumerate(tasks) for entries in sets]
    if any(_in_order([entries.get(dim) for _, entries in every]) for dim in every[0][1]):
        return True
    return all(
        first == second or _disjoint(one, other)
        for index, (first, one) in enumerate(every)
        for second, other in every[:index]
    )


def _selects(root: Node) -> bool:
    """Whether there is a choice of entries above the operations that mix them.

    Most graphs have none, and need no more than this look at the few nodes of the loss itself.
    """
    seen = {root}
    stack = [root]
    while stack:
        node = stack.pop()
        operation = _operation(node)
        if operation in KEEPING:
            new = [child for child, _ in node.next_functions if child and child not in seen]
            seen.update(new)
            stack.extend(new)
        elif operation in SELECTING or is_compiled(node):
            return True
    return False


def _in_order(indices: Sequence[range | None]) -> bool:
    """Whether these are known, and no two of them overlap."""
    known = sorted((each.start, each[-1]) for each in indices if each is not None)
    gaps = (one[1] < other[0] for one, other in pairwise(known))
    return len(known) == len(indices) and all(gaps)


def _disjoint(one: Entries, other: Entries) -> bool:
    return any(_without_common_index(one[dim], other[dim]) for dim in one.keys() & other.keys())


def _without_common_index(one: range | None, other: range | None) -> bool:
    if one is None or other is None:
        return False
    beside = one[-1] < other.start or other[-1] < one.start
    return beside or (one.start - other.start) % gcd(one.step, other.step) != 0


def _below(edge: Edge, entries: Entries) -> Below:
    """The inputs that matter; `None` if it is all of them and all that is below them."""
    node, output = edge
    operation = _operation(node)
    rule = SELECTING.get(operation) or KEEPING.get(operation)
    if not entries and operation in KEEPING:
        return [(child, {}) for child in _edges(node)]
    if entries and rule is None:
        rule = MIXING.get(operation, _some)
    return None if rule is None else rule(node, output, entries)


def _operation(node: Node) -> str:
    """`Mul` for `MulBackward0`; empty for what is not one of torch's own operations."""
    name = node.name()
    plain = name.rstrip("0123456789")
    return plain[:-8] if plain != name and plain.endswith("Backward") else ""


def _edges(node: Node) -> list[Edge]:
    return [(child, output) for child, output in node.next_functions if child is not None]


def _shape(edge: Edge) -> tuple[int, ...]:
    metadata: Any = edge[0]._input_metadata[edge[1]]
    return tuple(metadata.shape)


def _proper(entries: Entries, shape: Sequence[int]) -> Entries:
    """The same, without dimensions along which everything matters; an empty choice counts as all.

    Indices are put in ascending order.
    """
    proper: Entries = {}
    for dim, indices in sorted(entries.items()):
        if shape[dim] > 1 and indices is None:
            proper[dim] = None
        elif indices and len(indices) < shape[dim]:
            proper[dim] = indices if indices.step > 0 else indices[::-1]
    return proper


def _signed(number: int) -> int:
    """A saved number; autograd saves it unsigned, so that -1 arrives as 2**64 - 1."""
    return number if number < 2**63 else number - 2**64


def _dims(saved: int | Sequence[int] | None, ndim: int) -> list[int]:
    """Saved dimensions, counted from the front; all of them if there are none."""
    dims = [saved] if isinstance(saved, int) else saved or range(ndim)
    return [_signed(dim) % ndim for dim in dims] if ndim else []


def _taken(source: range, indices: range | None) -> range | None:
    """Where entries of a slice come from, given the indices `source` that the slice has taken."""
    return None if not indices else source[indices.start : indices[-1] + 1 : indices.step]


# Rules of operations that keep entries apart.


def _elementwise(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """Every input matters at the same entries; along dimensions that were broadcast, as a whole."""
    ndim = len(_shape((node, output)))
    for edge in _edges(node):
        lead = ndim - len(_shape(edge))
        yield edge, {dim - lead: indices for dim, indices in entries.items() if dim >= lead}


def _reduced(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """A sum, a maximum and the like over some dimensions, along which everything matters."""
    for edge in _edges(node):
        ndim = len(_shape(edge))
        reduced = _dims(getattr(node, "_saved_dim", None), ndim)
        kept = [dim for dim in range(ndim) if node._saved_keepdim or dim not in reduced]
        yield edge, {kept[dim]: indices for dim, indices in entries.items()}


def _normalised(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """A softmax, a running sum and the like: everything along one dimension matters.

    So it is with choices that depend on the data: the largest few, or the scores of the labels.
    """
    for edge in _edges(node):
        mixed = _dims(node._saved_dim, len(_shape(edge)))
        yield edge, {dim: indices for dim, indices in entries.items() if dim not in mixed}


def _resampled(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """A resized or pooled image, whose channels do not mix."""
    spatial = next(int(letter) for letter in _operation(node) if letter.isdigit())
    for edge in _edges(node):
        kept = len(_shape(edge)) - spatial
        yield edge, {dim: indices for dim, indices in entries.items() if dim < kept}


def _negative_log_likelihood(
    node: Any, output: int, entries: Entries
) -> Iterator[tuple[Edge, Entries]]:
    """One loss for each sample or pixel, in which all classes, dimension 1, matter."""
    for edge in _edges(node):
        yield edge, {dim + (dim > 0): indices for dim, indices in entries.items()}


def _permuted(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    dims = [_signed(dim) % len(node._saved_dims) for dim in node._saved_dims]
    for edge in _edges(node):
        yield edge, {dims[dim]: indices for dim, indices in entries.items()}


def _transposed(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    for edge in _edges(node):
        ndim = len(_shape(edge))
        one, other = (
            _signed(getattr(node, f"_saved_{name}", default)) % max(ndim, 1)
            for name, default in (("dim0", 0), ("dim1", 1))
        )
        swapped = {one: other, other: one}
        yield edge, {swapped.get(dim, dim): indices for dim, indices in entries.items()}


def _flipped(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    for edge in _edges(node):
        shape = _shape(edge)
        mirrored = {
            dim: _taken(range(shape[dim])[::-1], entries[dim])
            for dim in _dims(node._saved_dims, len(shape))
            if dim in entries
        }
        yield edge, entries | mirrored


def _repeated(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """Copies that follow one another; an index into one of them is one into the original."""
    for edge in _edges(node):
        shape = _shape(edge)
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
                below[dim - lead] = _shifted(indices, -copy) if inside else range(size)
        yield edge, below


def _reshaped(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """A view of another shape: groups of dimensions that hold the same entries in both shapes."""
    shape = _shape((node, output))
    for edge in _edges(node):
        size = _shape(edge)
        below: Entries = {}
        for dims, dims_below in _groups(shape, size):
            if any(dim in entries for dim in dims):
                chosen = [entries.get(dim, range(shape[dim])) for dim in dims]
                flat = _flattened(chosen, [shape[dim] for dim in dims])
                indices = _unflattened(flat, [size[dim] for dim in dims_below])
                below.update(zip(dims_below, indices, strict=True))
        yield edge, below


def _groups(shape: Sequence[int], other: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """The dimensions of two shapes of one tensor, in groups of as many entries in both.

    Dimensions of size 1 are left out.
    """
    if 0 in shape:
        return
    one = [dim for dim, size in enumerate(shape) if size > 1]
    two = [dim for dim, size in enumerate(other) if size > 1]
    while one:
        dims, dims_other = [one.pop(0)], [two.pop(0)]
        count, count_other = shape[dims[0]], other[dims_other[0]]
        while count != count_other:
            if count < count_other:
                dims.append(one.pop(0))
                count *= shape[dims[-1]]
            else:
                dims_other.append(two.pop(0))
                count_other *= other[dims_other[-1]]
        yield dims, dims_other


def _flattened(chosen: Sequence[range | None], sizes: Sequence[int]) -> range | None:
    """Indices along several dimensions as indices into the flattened tensor; more if uneven."""
    known = [indices for indices in chosen if indices is not None]
    if len(known) < len(chosen):
        return None
    strides = [prod(sizes[dim + 1 :]) for dim in range(len(sizes))]
    start = sum(indices.start * stride for indices, stride in zip(known, strides, strict=True))
    last = sum(indices[-1] * stride for indices, stride in zip(known, strides, strict=True))
    steps = [i.step * stride for i, stride in zip(known, strides, strict=True) if len(i) > 1]
    return range(start, last + 1, gcd(*steps) or 1)


def _unflattened(flat: range | None, sizes: Sequence[int]) -> list[range | None]:
    """The opposite of `_flattened`; some more where a part of a row is taken."""
    if flat is None or not sizes:
        return [None] * len(sizes)
    row = prod(sizes[1:])
    first, last = flat.start // row, flat[-1] // row
    if first == last:
        return [range(first, first + 1), *_unflattened(_shifted(flat, -first * row), sizes[1:])]
    if row % flat.step == 0:
        within = range(flat.start % flat.step, row, flat.step)
        return [range(first, last + 1), *_unflattened(within, sizes[1:])]
    if flat.step % row == 0:
        column = flat.start % row
        rows = range(first, last + 1, flat.step // row)
        return [rows, *_unflattened(range(column, column + 1), sizes[1:])]
    return [None] * len(sizes)


def _shifted(indices: range, by: int) -> range:
    return range(indices.start + by, indices.stop + by, indices.step)


def _concatenated(node: Any, output: int, entries: Entries) -> Below:
    """Only those inputs matter that the indices fall into."""
    shape = _shape((node, output))
    (dim,) = _dims(node._saved_dim, len(shape))
    if dim not in entries:
        return [(edge, entries) for edge in _edges(node)]
    indices, parts = entries[dim], _parts(node, dim, shape)
    if indices is None or parts is None:
        return None
    below: list[tuple[Edge, Entries]] = []
    for edge, start, size in parts:
        # The first index that is not below `start`, and as many as fit.
        first = max(0, -((indices.start - start) // indices.step))
        inside = _shifted(indices[first:], -start)
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
        (_shape((child, output)) + (0,) * len(shape))[dim] if child is not None else None
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
    (dim,) = _dims(node._saved_dim, len(_shape((node, output))))
    below = {other - (other > dim): entries[other] for other in entries if other != dim}
    indices = entries.get(dim, range(len(node.next_functions)))
    if indices is None:
        return None
    chosen = [node.next_functions[index] for index in indices]
    return [(edge, below) for edge in chosen if edge[0] is not None]


# Rules of operations that select entries.


def _selected(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """One index along a dimension, which is then gone: `select`, or an output of `unbind`."""
    for edge in _edges(node):
        shape = _shape(edge)
        (dim,) = _dims(node._saved_dim, len(shape))
        index = _signed(getattr(node, "_saved_index", output)) % shape[dim]
        below = {other + (other >= dim): entries[other] for other in entries}
        yield edge, below | {dim: range(index, index + 1)}


def _sliced(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    for edge in _edges(node):
        shape = _shape(edge)
        (dim,) = _dims(node._saved_dim, len(shape))
        start, end = (
            None if bound is None else _signed(bound)
            for bound in (node._saved_start, node._saved_end)
        )
        source = range(shape[dim])[start : end : node._saved_step]
        yield edge, entries | {dim: _taken(source, entries.get(dim, range(len(source))))}


def _split(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """One of the parts of a `split` or `chunk`."""
    for edge in _edges(node):
        (dim,) = _dims(node._saved_dim, len(_shape(edge)))
        start = sum(_shape((node, part))[dim] for part in range(output))
        source = range(start, start + _shape((node, output))[dim])
        yield edge, entries | {dim: _taken(source, entries.get(dim, range(len(source))))}


def _indexed(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """What a tensor of indices or a mask selects, which is not read: it may be on a device.

    A mask of samples, as in `losses[valid]`, depends on the data, so that every sample matters, and
    the dimensions behind it are followed. `predictions[:, index]` and a single index choose.
    """
    shape = _shape((node, output))
    for edge in _edges(node):
        size = _shape(edge)
        lead = len(size) - len(shape)
        if len(node._raw_saved_indices) == 1:
            behind = {dim + lead: at for dim, at in entries.items() if dim >= max(1, 1 - lead)}
            first = dict.fromkeys(range(lead + 1)) if lead >= 0 and shape[:1] in {(), (1,)} else {}
            yield edge, first | behind
        else:
            chooses = lead == 0 and shape[0] == size[0]
            yield edge, dict.fromkeys(range(len(size))) if chooses else {}


def _index_selected(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """As `_indexed`, along one dimension."""
    for edge in _edges(node):
        (dim,) = _dims(node._saved_dim, len(_shape(edge)))
        chooses = dim > 0 or _shape((node, output))[dim] == 1
        below = {other: at for other, at in entries.items() if other != dim}
        yield edge, below | ({dim: None} if chooses else {})


def _some(node: Any, output: int, entries: Entries) -> Below:
    """Some entries of the only input; no telling if there are several."""
    edges = _edges(node)
    if len(edges) > 1:
        return None
    return [(edge, dict.fromkeys(range(len(_shape(edge))))) for edge in edges]


# Rules of operations that mix entries, but not those of all inputs.


def _all(node: Any, output: int, entries: Entries) -> Below:
    """Every entry of every input matters."""
    return [(edge, {}) for edge in _edges(node)]


def _multiplied(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """A product of matrices, to which a bias may be added: only its columns are followed.

    A linear layer takes as many rows of its weight; those of `bmm` have a matrix for each of the
    first dimension.
    """
    inputs = [None if child is None else (child, output) for child, output in node.next_functions]
    shape = _shape((node, output))
    last = len(shape) - 1
    *bias, left, right = inputs
    batch = {0: entries[0]} if last == 2 and 0 in entries else {}
    column = {last: entries[last]} if last in entries else {}
    for edge in bias:
        if edge is not None:
            lead = last + 1 - len(_shape(edge))
            yield edge, {last - lead: entries[last]} if column else {}
    if left is not None:
        yield left, batch
    if right is not None:
        yield right, batch | column


def _convolved(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """A channel needs all of the input, and its own part of weight and bias."""
    channel = {0: entries[1]} if 1 in entries else {}
    for place, (child, number) in enumerate(node.next_functions):
        if child is not None:
            own = place == 2 or (place == 1 and not node._saved_transposed)
            yield (child, number), channel if own else {}


def _batch_normalised(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """A channel needs the same channel of the whole batch, of the weight and of the bias."""
    for place, (child, number) in enumerate(node.next_functions):
        if child is not None and 1 in entries:
            yield (child, number), {0 if place else 1: entries[1]}
        elif child is not None:
            yield (child, number), {}


def _named(rule: Rule, operations: str) -> dict[str, Rule]:
    return dict.fromkeys(operations.split(), rule)


KEEPING: dict[str, Rule] = {
    **_named(
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
    **_named(
        _reduced,
        "Amax Amin Kthvalue LinalgVectorNorm Logsumexp Max Mean Median Min Mode Nanmedian Nansum"
        " Norm Prod Std Sum Var",
    ),
    **_named(_normalised, "Cumprod Cumsum Gather LogSoftmax Logcumsumexp Softmax Sort Topk"),
    **_named(_all, "MaskedSelect Take"),
    **_named(
        _resampled,
        "AdaptiveAvgPool2D AdaptiveAvgPool3D AdaptiveMaxPool2D AdaptiveMaxPool3D AvgPool2D"
        " AvgPool3D MaxPool2DWithIndices MaxPool3DWithIndices UpsampleBicubic2D UpsampleBicubic2DAa"
        " UpsampleBilinear2D UpsampleBilinear2DAa UpsampleLinear1D UpsampleNearest1D"
        " UpsampleNearest2D UpsampleNearest3D UpsampleNearestExact1D UpsampleNearestExact2D"
        " UpsampleNearestExact3D UpsampleTrilinear3D",
    ),
    **_named(_negative_log_likelihood, "NllLoss NllLoss2D"),
    **_named(_permuted, "Permute"),
    **_named(_transposed, "T Transpose"),
    **_named(_flipped, "Flip"),
    **_named(_repeated, "Repeat"),
    **_named(_reshaped, "ReshapeAlias Squeeze UnsafeView Unsqueeze View"),
    **_named(_concatenated, "Cat"),
    **_named(_stacked, "Stack"),
}
"""Operations that keep entries apart."""

SELECTING: dict[str, Rule] = {
    **_named(_selected, "Select Unbind"),
    **_named(_sliced, "Slice"),
    **_named(_split, "Split SplitWithSizes"),
    **_named(_indexed, "Index"),
    **_named(_index_selected, "IndexSelect"),
    **_named(_some, "AsStrided"),
}
"""Operations that select entries."""

MIXING: dict[str, Rule] = {
    **_named(_multiplied, "Addmm Baddbmm Bmm Mm"),
    **_named(_convolved, "Convolution ConvolutionOverrideable"),
    **_named(_batch_normalised, "BatchNormImpl CudnnBatchNorm MiopenBatchNorm NativeBatchNorm"),
    **_named(
        _all,
        "Addbmm Addmv Addr Bilinear Cdist CudnnConvolution CudnnRnn Dot Embedding EmbeddingBag"
        " FusedRmsNorm GridSampler2D GridSampler3D Linear MkldnnConvolution MkldnnLinear"
        " MkldnnRnnLayer MpsConvolution MpsConvolutionTranspose Mv NativeGroupNorm NativeLayerNorm"
        " ScaledDotProductCudnnAttention ScaledDotProductEfficientAttention"
        " ScaledDotProductFlashAttention ScaledDotProductFlashAttentionForCpu ThnnFusedGruCell"
        " ThnnFusedLstmCell",
    ),
}
"""Operations that mix entries: what lies below matters as a whole, or is a parameter."""
