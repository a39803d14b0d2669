"""Fields inside files of several: another shape or type, or a class that does not exist."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from torch.utils.data import Dataset

from lightning_mtl.data import (
    BSDS500,
    CelebA,
    CorruptFileError,
    LabelError,
    MultiMNIST,
    NYUv2,
    PASCALContext,
)
from tests.support import layouts


def read_all(dataset: Dataset) -> None:
    for index in range(len(dataset)):
        dataset[index]


def drawn(contours: object) -> np.ndarray:
    cells = np.empty((1, 1), object)
    cells[0, 0] = {"Boundaries": contours}
    return cells


@pytest.mark.parametrize(
    ("label_map", "found"),
    [
        (np.zeros((41, 60), np.uint16), r"\(41, 60\) uint16"),
        (np.zeros((40, 60)), r"\(40, 60\) float64"),
        (np.zeros((40, 60, 3), np.uint8), r"\(40, 60, 3\) uint8"),
        (np.full((40, 60), -1, np.int16), "numbers from -1"),
    ],
    ids=["another shape", "another type", "a colour image", "negative"],
)
def test_class_numbers_of_pascal_context(tmp_path: Path, label_map: np.ndarray, found: str) -> None:
    layouts.pascal(tmp_path)
    scipy.io.savemat(tmp_path / "pascal-context/trainval/1.mat", {"LabelMap": label_map})
    expected = rf"field `LabelMap` of `.*trainval/1.mat.*\(40, 60\) from 0 to 459. Found {found}"
    with pytest.raises(CorruptFileError, match=expected):
        read_all(PASCALContext(tmp_path, size=None, tasks=("edges",)))


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (drawn(np.zeros((33, 48), np.uint8)), r"\[\(33, 48\)\]"),
        (drawn("contours"), r"(\[\(1,\)\]|.*Error)"),
        (np.zeros((1, 3)), ".*Error"),
        (np.empty((0, 0), object), r"\[\]"),
    ],
    ids=["another shape", "a text", "numbers", "no cell"],
)
def test_contours_of_bsds500(tmp_path: Path, cells: np.ndarray, found: str) -> None:
    layouts.bsds(tmp_path)
    scipy.io.savemat(tmp_path / "groundTruth/train/0.mat", {"groundTruth": cells})
    expected = rf"field `groundTruth` of `.*train/0.mat.*Boundaries \(32, 48\). Found {found}"
    with pytest.raises(CorruptFileError, match=expected):
        read_all(BSDS500(tmp_path))


def test_contours_that_are_no_flags(tmp_path: Path) -> None:
    """BSDS500 has segments in the same cells: read instead of the contours, they are named."""
    layouts.bsds(tmp_path)
    path = tmp_path / "groundTruth/train/0.mat"
    scipy.io.savemat(path, {"groundTruth": drawn(np.full((32, 48), 7, np.uint16))})
    with pytest.raises(LabelError, match=r"train/0.mat.*0 or 1.*Found \[7\]"):
        read_all(BSDS500(tmp_path))


@pytest.mark.parametrize("wrong", [895, 65535])
def test_labels_of_the_official_nyuv2_beyond_its_894(tmp_path: Path, wrong: int) -> None:
    layouts.nyuv2(tmp_path)
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "a") as file:
        file["labels"][1, 5, 5] = wrong
    with pytest.raises(LabelError, match=rf"labeled.mat.* 1 to 894.*Found \[{wrong}\]"):
        read_all(NYUv2(tmp_path, tasks=("segmentation",)))


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_depths_of_the_official_nyuv2_that_are_none(tmp_path: Path, wrong: float) -> None:
    layouts.nyuv2(tmp_path)
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "a") as file:
        file["depths"][1, 5, 5] = wrong
    expected = r"field `depths` of `.*labeled.mat.*metres from 0 to 100 in frame 2. Found"
    with pytest.raises(CorruptFileError, match=expected):
        read_all(NYUv2(tmp_path, tasks=("depth",)))


def idx(magic: int, *sides: int, values: int) -> bytes:
    return gzip.compress(struct.pack(f">{1 + len(sides)}I", magic, *sides) + bytes(values), mtime=0)


@pytest.mark.parametrize(
    ("kind", "content", "found"),
    [
        ("images-idx3", idx(0x803, 20, 27, 28, values=20 * 27 * 28), r"sides \[20, 27, 28\]"),
        ("images-idx3", idx(0xD03, 20, 28, 28, values=4 * 20 * 784), "magic number 0xd03"),
        ("images-idx3", idx(0x801, 20, values=20), "magic number 0x801"),
        ("labels-idx1", idx(0x801, 19, values=19), r"sides \[19\], 19 values"),
        ("labels-idx1", idx(0x801, 20, values=19), r"sides \[20\], 19 values"),
    ],
    ids=[
        "images of another shape",
        "images of another type",
        "images without sides",
        "another number of labels",
        "a label too few",
    ],
)
def test_digits_of_another_shape_or_type(
    tmp_path: Path, kind: str, content: bytes, found: str
) -> None:
    layouts.mnist(tmp_path)
    path = tmp_path / f"MNIST/raw/t10k-{kind}-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(
        CorruptFileError, match=rf"digits `.*t10k-{kind}.*IDX file.*Found .*{found}"
    ):
        MultiMNIST(tmp_path, digits="t10k")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda rows: [*rows[:-1], rows[-1].replace(" 2", " 3")], "000005.jpg 3"),
        (lambda rows: [*rows[:-1], "000005.jpg"], "000005.jpg"),
        (lambda rows: rows[:-1], "4 rows"),
    ],
    ids=["an unknown partition", "a row without a partition", "a row too few"],
)
def test_partitions_of_celeba(tmp_path: Path, change: Callable, found: str) -> None:
    layouts.celeba(tmp_path)
    path = tmp_path / "list_eval_partition.txt"
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(CorruptFileError, match=rf"partition `.*should hold .*Found {found}"):
        CelebA(tmp_path)
