"""Rules of operations that mix entries, but not those of all inputs."""

from collections.abc import Iterator
from typing import Any

from lightning_mtl.engine.entries.nodes import Edge, Entries, Rule, all_matter, named, shape_of


def _multiplied(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """A product of matrices, to which a bias may be added: only its columns are followed.

    A linear layer takes as many rows of its weight; those of `bmm` have a matrix for each of the
    first dimension.
    """
    inputs = [None if child is None else (child, output) for child, output in node.next_functions]
    shape = shape_of((node, output))
    last = len(shape) - 1
    *bias, left, right = inputs
    batch = {0: entries[0]} if last == 2 and 0 in entries else {}
    column = {last: entries[last]} if last in entries else {}
    for edge in bias:
        if edge is not None:
            lead = last + 1 - len(shape_of(edge))
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


MIXING: dict[str, Rule] = {
    **named(_multiplied, "Addmm Baddbmm Bmm Mm"),
    **named(_convolved, "Convolution ConvolutionOverrideable"),
    **named(_batch_normalised, "BatchNormImpl CudnnBatchNorm MiopenBatchNorm NativeBatchNorm"),
    **named(
        all_matter,
        "Addbmm Addmv Addr Bilinear Cdist CudnnConvolution CudnnRnn Dot Embedding EmbeddingBag"
        " FusedRmsNorm GridSampler2D GridSampler3D Linear MkldnnConvolution MkldnnLinear"
        " MkldnnRnnLayer MpsConvolution MpsConvolutionTranspose Mv NativeGroupNorm NativeLayerNorm"
        " ScaledDotProductCudnnAttention ScaledDotProductEfficientAttention"
        " ScaledDotProductFlashAttention ScaledDotProductFlashAttentionForCpu ThnnFusedGruCell"
        " ThnnFusedLstmCell",
    ),
}
"""Operations that mix entries: what lies below matters as a whole, or is a parameter."""
