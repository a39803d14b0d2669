"""MATLAB files: what is read equals what scipy reads, and damage is an error, never a crash."""

import random
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from lightning_mtl.data.reading import matlab
from lightning_mtl.data.reading.matlab import read_variable

WRITTEN_BY_MATLAB = Path(scipy.io.__file__).parent / "matlab/tests/data"


def cells(*values: object) -> np.ndarray:
    array = np.empty((1, len(values)), object)
    for place, value in enumerate(values):
        array[0, place] = value
    return array


PART = {"part_name": "head", "mask": np.eye(5, dtype=np.uint8)}
VARIABLES = {
    "numbers of a byte": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "numbers of eight bytes": np.array([[1.5, -np.inf, np.nan]]),
    "signed numbers": np.array([[-(2**40), 3]]),
    "three axes": np.arange(24, dtype=np.int16).reshape(2, 3, 4),
    "nothing": np.zeros((0, 3)),
    "a text": "upper arm",
    "an empty text": "",
    "cells": cells(np.ones((2, 2)), "two", cells(3.0)),
    "a structure": {"class_ind": 15.0, "parts": cells(PART, PART)},
    "structures": np.array(
        [(1.0, "a"), (2.0, "b")], [("number", object), ("name", object)]
    ).reshape(2, 1),
}


def same(found: Any, expected: Any) -> bool:
    if found.shape != expected.shape or found.dtype.names != expected.dtype.names:
        return False
    if found.dtype.names:
        return all(same(found[name], expected[name]) for name in found.dtype.names)
    if found.dtype == expected.dtype == object:
        return all(map(same, found.ravel(), expected.ravel()))
    nan = found.dtype.kind == "f"
    return found.dtype == expected.dtype and np.array_equal(found, expected, equal_nan=nan)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("name", VARIABLES)
def test_variables_are_read_as_scipy_reads_them(tmp_path, name, packed):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"other": 1.0, "value": VARIABLES[name]}, do_compression=packed)
    assert same(read_variable(path, "value"), scipy.io.loadmat(path)["value"])


@pytest.mark.skipif(not WRITTEN_BY_MATLAB.exists(), reason="scipy comes without its tests")
@pytest.mark.parametrize("version", ["6.1_SOL2", "6.5.1_GLNX86", "7.1_GLNX86", "7.4_GLNX86"])
@pytest.mark.parametrize(
    "name", ["3dmatrix", "cellnest", "double", "minus", "string", "stringarray", "structnest"]
)
def test_files_of_matlab_itself_are_read_as_scipy_reads_them(name, version):
    path = WRITTEN_BY_MATLAB / f"test{name}_{version}.mat"
    expected = scipy.io.loadmat(path)
    (variable,) = (key for key in expected if not key.startswith("__"))
    # Those of Solaris have the other order of bytes, which ours turns at once.
    numbers = expected[variable]
    if numbers.dtype.kind in "if":
        numbers = numbers.astype(numbers.dtype.newbyteorder("="))
    assert same(read_variable(path, variable), numbers)


def test_a_variable_that_is_missing_gives_the_names_that_there_are(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"one": 1.0, "two": 2.0})
    assert read_variable(tmp_path / "a.mat", "three") == ["one", "two"]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_damage_anywhere_is_an_error_or_another_value(tmp_path, packed):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"anno": VARIABLES["a structure"]}, do_compression=packed)
    whole, chance, errors = path.read_bytes(), random.Random(0), 0
    for _ in range(200):
        damaged = bytearray(whole)
        place = chance.randrange(len(damaged))
        damaged[place : place + 4] = chance.choice([b"\xff\xff\xff\xff", b"\x7f", b"", bytes(8)])
        path.write_bytes(damaged)
        try:
            read_variable(path, "anno")
        except (ValueError, zlib.error):
            errors += 1
    assert errors > 100


def test_cells_nested_without_end_are_an_error(tmp_path):
    value, limit = 1.0, sys.getrecursionlimit()
    # From Python 3.12 on, a comprehension is no call of its own: reading goes two calls deep each.
    for _ in range(600):
        value = cells(value)
    sys.setrecursionlimit(10 * limit)
    try:
        scipy.io.savemat(tmp_path / "a.mat", {"value": value})
    finally:
        sys.setrecursionlimit(limit)
    with pytest.raises(RecursionError):
        read_variable(tmp_path / "a.mat", "value")


def test_a_variable_that_unpacks_to_too_much_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(matlab, "LARGEST", 2**16)
    scipy.io.savemat(tmp_path / "a.mat", {"value": np.zeros((300, 300))}, do_compression=True)
    assert (tmp_path / "a.mat").stat().st_size < 2**12
    with pytest.raises(ValueError, match="a packed variable of more than 65536 bytes"):
        read_variable(tmp_path / "a.mat", "value")


@pytest.mark.parametrize(
    "value",
    [np.array([[1j]]), scipy.sparse.eye(3, format="csc")],
    ids=["complex numbers", "a sparse matrix"],
)
def test_what_no_data_set_has_is_an_error(tmp_path, value):
    scipy.io.savemat(tmp_path / "a.mat", {"value": value})
    with pytest.raises(ValueError, match="which no data set needs"):
        read_variable(tmp_path / "a.mat", "value")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no header"), (bytes(124) + b"\x00\x02IM", "another version than 5 to 7.2")],
    ids=["an empty file", "version 7.3"],
)
def test_files_of_another_kind_are_an_error(tmp_path, content, message):
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_variable(tmp_path / "a.mat", "value")
