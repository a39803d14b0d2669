"""Arithmetic with the indices of entries, kept as ranges."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import gcd, prod


def in_order(indices: Sequence[range | None]) -> bool:
    """Whether these are known, and no two of them overlap."""
    known = sorted((each.start, each[-1]) for each in indices if each is not None)
    gaps = (one[1] < other[0] for one, other in pairwise(known))
    return len(known) == len(indices) and all(gaps)


def without_common_index(one: range | None, other: range | None) -> bool:
    """Whether two choices of indices are known not to overlap."""
    if one is None or other is None:
        return False
    beside = one[-1] < other.start or other[-1] < one.start
    return beside or (one.start - other.start) % gcd(one.step, other.step) != 0


def taken(source: range, indices: range | None) -> range | None:
    """Where entries of a slice come from, given the indices `source` that the slice has taken."""
    return None if not indices else source[indices.start : indices[-1] + 1 : indices.step]


def shifted(indices: range, by: int) -> range:
    """The same indices, each of them moved by a number."""
    return range(indices.start + by, indices.stop + by, indices.step)


def groups(shape: Sequence[int], other: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
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


def flattened(chosen: Sequence[range | None], sizes: Sequence[int]) -> range | None:
    """Indices along several dimensions as indices into the flattened tensor; more if uneven."""
    known = [indices for indices in chosen if indices is not None]
    if len(known) < len(chosen):
        return None
    strides = [prod(sizes[dim + 1 :]) for dim in range(len(sizes))]
    start = sum(indices.start * stride for indices, stride in zip(known, strides, strict=True))
    last = sum(indices[-1] * stride for indices, stride in zip(known, strides, strict=True))
    steps = [i.step * stride for i, stride in zip(known, strides, strict=True) if len(i) > 1]
    return range(start, last + 1, gcd(*steps) or 1)


def unflattened(flat: range | None, sizes: Sequence[int]) -> list[range | None]:
    """The opposite of `flattened`; some more where a part of a row is taken."""
    if flat is None or not sizes:
        return [None] * len(sizes)
    row = prod(sizes[1:])
    first, last = flat.start // row, flat[-1] // row
    if first == last:
        return [range(first, first + 1), *unflattened(shifted(flat, -first * row), sizes[1:])]
    if row % flat.step == 0:
        within = range(flat.start % flat.step, row, flat.step)
        return [range(first, last + 1), *unflattened(within, sizes[1:])]
    if flat.step % row == 0:
        column = flat.start % row
        rows = range(first, last + 1, flat.step // row)
        return [rows, *unflattened(range(column, column + 1), sizes[1:])]
    return [None] * len(sizes)
