"""Variables of MATLAB files, versions 5 to 7.2.

The compiled reader of scipy trusts what a file says of itself, so that a damaged one can end the
process. This one checks every size before it reads, and returns arrays as scipy's does. It knows
what data sets store: numbers, texts, cells and structures.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_variable"]

LARGEST = 2**29
"""Bytes that a packed variable may have, at most."""

SIGNED = {1: "i1", 3: "i2", 5: "i4", 12: "i8"}
UNSIGNED = {2: "u1", 4: "u2", 6: "u4", 13: "u8"}
NUMBERS = SIGNED | UNSIGNED | {7: "f4", 9: "f8"}
CODECS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
MATRIX, PACKED = 14, 15
CELLS, STRUCTURES, TEXT, OPAQUE = 1, 2, 4, 17
NUMERIC = range(6, 16)
COMPLEX = 0x08


@dataclass
class Reader:
    """What is left to read of a file, or of one element of it.

    Attributes:
        data: the bytes.
        order: `"<"` or `">"`, the order of the bytes of a number.
    """

    data: memoryview
    order: str

    def take(self, count: int) -> memoryview:
        """The next bytes.

        Raises:
            ValueError: if there are fewer.
        """
        if count > len(self.data):
            raise ValueError(f"{len(self.data)} bytes where {count} should follow")
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def element(self) -> tuple[int, memoryview]:
        """The type and the bytes of the next element.

        Raises:
            ValueError: if it does not end within the data.
        """
        kind, size = struct.unpack(f"{self.order}2I", self.data[:8].tobytes().ljust(8, b"\0"))
        if kind >> 16:  # Up to four bytes stand in the tag itself, their number before the type.
            tag = self.take(8)
            return kind & 0xFFFF, tag[4 : 4 + (kind >> 16)]
        self.take(8)
        content = self.take(size)
        if kind != PACKED:
            self.take(min(-size % 8, len(self.data)))
        return kind, content

    def numbers(self) -> NDArray[Any]:
        """The numbers of the next element.

        Raises:
            ValueError: if it has none.
        """
        kind, content = self.element()
        if kind not in NUMBERS:
            raise ValueError(f"an element of type {kind} where numbers should follow")
        values = np.frombuffer(content, f"{self.order}{NUMBERS[kind]}")
        return values.astype(values.dtype.newbyteorder("="), copy=False)

    def text(self) -> str:
        """The text of the next element.

        Raises:
            ValueError: if it has none.
        """
        kind, content = self.element()
        codec = CODECS.get(kind)
        if codec is None:
            raise ValueError(f"an element of type {kind} where a text should follow")
        if codec in ("utf-16", "utf-32"):
            codec += "-le" if self.order == "<" else "-be"
        return content.tobytes().decode(codec)

    def matrix(self) -> "Reader":
        """The inside of the next element, an array.

        Raises:
            ValueError: if it is none.
        """
        kind, content = self.element()
        if kind != MATRIX:
            raise ValueError(f"an element of type {kind} where an array should follow")
        return Reader(content, self.order)


def read_variable(path: Path, name: str) -> NDArray[Any] | list[str]:
    """The variable of that name, as `scipy.io.loadmat` gives it, or the names that there are.

    Raises:
        ValueError: if the file cannot be read, or has a variable of another kind.
        zlib.error: if a packed variable cannot be unpacked.
    """
    names: list[str] = []
    found: NDArray[Any] | None = None
    for variable in _variables(path.read_bytes()):
        inside = variable.matrix()
        kind, flags = _kind(inside)
        sides = () if kind == OPAQUE else _sides(inside)
        names.append(inside.text())
        if names[-1] == name:
            found = _content(inside, kind, flags, sides)
    return names if found is None else found


def _variables(data: bytes) -> Iterator[Reader]:
    """The variables of a file one after the other, unpacked."""
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise ValueError("no header of a MATLAB file of version 5 to 7.2")
    if data[124:126] not in (b"\x00\x01", b"\x01\x00"):
        raise ValueError("a MATLAB file of another version than 5 to 7.2")
    rest = Reader(memoryview(data)[128:], order)
    while rest.data:
        packed = Reader(rest.data, order).element()[0] == PACKED
        start = rest.data
        content = rest.element()[1]
        yield Reader(memoryview(_unpacked(content)) if packed else start, order)


def _unpacked(content: memoryview) -> bytes:
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(content, LARGEST)
    if unpacker.unconsumed_tail:
        raise ValueError(f"a packed variable of more than {LARGEST} bytes")
    if not unpacker.eof:
        raise ValueError("a packed variable that ends too early")
    return data


def _array(reader: Reader) -> NDArray[Any]:
    """The next array, which is an element of a cell or of a structure."""
    inside = reader.matrix()
    if not inside.data:
        return np.empty((1, 0))
    kind, flags = _kind(inside)
    sides = _sides(inside)
    inside.text()
    return _content(inside, kind, flags, sides)


def _kind(inside: Reader) -> tuple[int, int]:
    """The class of an array and its flags."""
    numbers = inside.numbers()
    if len(numbers) != 2:
        raise ValueError(f"{len(numbers)} numbers where the two flags of an array should follow")
    return int(numbers[0]) & 0xFF, int(numbers[0]) >> 8 & 0xFF


def _sides(inside: Reader) -> tuple[int, ...]:
    sides = tuple(int(side) for side in inside.numbers())
    if not 2 <= len(sides) <= 32 or min(sides) < 0:
        raise ValueError(f"an array of sides {sides}")
    return sides


def _content(inside: Reader, kind: int, flags: int, sides: tuple[int, ...]) -> NDArray[Any]:
    if kind in NUMERIC and not flags & COMPLEX:
        return _shaped(inside.numbers(), sides)
    if kind == TEXT:
        return _texts(inside.text(), sides)
    if kind == CELLS:
        _check_count(inside, math.prod(sides))
        return _objects([_array(inside) for _ in range(math.prod(sides))], sides)
    if kind == STRUCTURES:
        return _structures(inside, sides)
    raise ValueError(f"an array of class {kind}, flags {flags:#x}, which no data set needs")


def _structures(inside: Reader, sides: tuple[int, ...]) -> NDArray[Any]:
    """A structured array with one field for each name, of objects."""
    length = inside.numbers()
    letters = inside.element()[1].tobytes()
    if len(length) != 1 or length[0] < 1 or len(letters) % int(length[0]):
        raise ValueError(f"names of fields {length.tolist()} long in {len(letters)} letters")
    step = int(length[0])
    names = [
        letters[start : start + step].split(b"\0")[0].decode("utf-8")
        for start in range(0, len(letters), step)
    ]
    if not names:
        return np.empty((1, 0))
    count = math.prod(sides)
    _check_count(inside, count * len(names))
    values = [tuple(_array(inside) for _ in names) for _ in range(count)]
    structures = np.empty(count, [(name, object) for name in names])
    for place, value in enumerate(values):
        structures[place] = value
    return structures.reshape(sides, order="F")


def _check_count(inside: Reader, count: int) -> None:
    """Raise if so many arrays do not fit in what is left, before room is made for them."""
    if count * 8 > len(inside.data):
        raise ValueError(f"{count} arrays in {len(inside.data)} bytes")


def _objects(values: list[NDArray[Any]], sides: tuple[int, ...]) -> NDArray[Any]:
    cells = np.empty(len(values), object)
    for place, value in enumerate(values):
        cells[place] = value
    return cells.reshape(sides, order="F")


def _texts(letters: str, sides: tuple[int, ...]) -> NDArray[Any]:
    """One text for each row."""
    rows = _shaped(np.array(list(letters), "U1"), sides)
    texts = ["".join(row) for row in rows.reshape(-1, sides[-1])] if rows.size else []
    return np.array(texts, f"U{max(1, sides[-1])}").reshape(sides[:-1] if texts else 0)


def _shaped(values: NDArray[Any], sides: tuple[int, ...]) -> NDArray[Any]:
    if values.size != math.prod(sides):
        raise ValueError(f"{values.size} values for an array of sides {sides}")
    return values.reshape(sides, order="F")
