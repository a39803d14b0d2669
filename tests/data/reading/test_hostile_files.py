"""Files that are no part of a data set, or that ask for more than they have or should be given."""

import gzip
import random
import struct
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from lightning_mtl.data import CorruptFileError, DatasetNotFoundError, LabelError
from lightning_mtl.data.datasets import multimnist
from lightning_mtl.data.reading.files import read_array, read_pixels, read_text
from tests.support import layouts
from tests.support.formats import FILES, FORMATS, read_all

LISTED_BY_FOLDER = ("nyuv2_frames", "nyuv2_arrays", "cityscapes", "cityscapes_arrays", "bsds")


@pytest.mark.parametrize("name", LISTED_BY_FOLDER)
def test_companions_that_macos_leaves_are_no_samples(broken, name):
    root = broken(name)
    count = len(FORMATS[name].make(root))
    for path in [path for path in root.rglob("*") if path.is_file()]:
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7")
    dataset = FORMATS[name].make(root)
    assert len(dataset) == count
    dataset[0]


TEXTS = [
    ("celeba", "list_attr_celeba.txt"),
    ("celeba", "list_eval_partition.txt"),
    ("mosd", "train.txt"),
    ("mosd", "intrinsics.txt"),
    ("nyud", "gt_sets/train.txt"),
    ("pascal", "ImageSets/Context/train.txt"),
]


@pytest.mark.parametrize(("name", "file"), TEXTS, ids=[file for _, file in TEXTS])
def test_a_list_that_is_no_text_is_named(broken, name, file):
    root = broken(name)
    (root / file).write_bytes(b"\xff\xfe" + (root / file).read_bytes())
    with pytest.raises(CorruptFileError, match=rf"{file}` should hold a text in UTF-8"):
        FORMATS[name].make(root)


LISTS = [entry for entry in TEXTS if entry[1].endswith(("train.txt", "partition.txt"))]


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b"])
@pytest.mark.parametrize(("form", "file"), LISTS, ids=[file for _, file in LISTS])
def test_a_list_never_leads_out_of_the_folder(broken, form, file, name):
    root = broken(form)
    rows = (root / file).read_text().splitlines()
    rows[0] = f"{name} 0" if form == "celeba" else name
    (root / file).write_text("\n".join(rows))
    with pytest.raises(CorruptFileError, match=rf"{file}` should hold names of files in the fold"):
        FORMATS[form].make(root)


def test_a_text_with_a_mark_of_its_encoding_is_read_without_it(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone")
    assert read_text(tmp_path / "a.txt", "list") == "one"


def header(shape: str) -> bytes:
    """The header of a `.npy` file, and four numbers."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(16)


def an_archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, np.zeros((2, 2), np.float32))


ARRAYS = {
    "terabytes in the header": lambda path: path.write_bytes(header("(1000000, 1000000)")),
    "no end of the header": lambda path: path.write_bytes(header("(2, 2").replace(b"}", b" ")),
    "an archive": an_archive,
    "no value": lambda path: np.save(path, np.zeros((0, 2), np.float32)),
    "objects": lambda path: np.save(path, np.array([[{}, {}]]), allow_pickle=True),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_are_none_are_named_without_being_read(tmp_path, case):
    path = tmp_path / "depth.npy"
    ARRAYS[case](path)
    tracemalloc.start()
    with pytest.raises(CorruptFileError, match=r"depth `.*depth.npy` should hold an array"):
        read_array(path, "depth", (None, None), (0, 1))
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_picture_of_too_many_pixels_is_refused_by_its_header(tmp_path):
    path = tmp_path / "label.png"
    Image.new("1", (9000, 9000)).save(path, compress_level=9)
    assert path.stat().st_size < 2**17
    tracemalloc.start()
    with pytest.raises(CorruptFileError, match=r"\(48, 64\) uint8\. Found \(9000, 9000\)"):
        read_pixels(path, "labels", (48, 64))
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_digits_that_unpack_to_too_much_are_not_unpacked_to_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(multimnist, "LARGEST", 2**20)
    layouts.mnist(tmp_path)
    path = tmp_path / "MNIST/raw/t10k-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(struct.pack(">4I", 0x803, 99999, 28, 28) + bytes(2**21), 1))
    with pytest.raises(CorruptFileError, match=r"t10k-images.*at most 1048576 bytes. Found more"):
        multimnist.MultiMNIST(tmp_path, digits="t10k")


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("trainNdxs", "text", "1 values of type <U4"),
        ("trainNdxs", {"a": 1.0}, r"1 values of type \[\('a'"),
        ("trainNdxs", np.array([[1.5]]), r"1 numbers from 1.5 to 1.5"),
        ("trainNdxs", np.array([[np.nan]]), "1 numbers from nan"),
        ("trainNdxs", np.zeros((0, 1)), "0 values"),
    ],
    ids=["a text", "a structure", "a fraction", "not a number", "nothing"],
)
def test_numbers_of_frames_that_are_none_are_named(broken, field, value, found):
    root = broken("nyuv2")
    scipy.io.savemat(root / "splits.mat", {field: value})
    with pytest.raises(CorruptFileError, match=rf"`{field}` of `.*splits.mat.*Found {found}"):
        FORMATS["nyuv2"].make(root)


def test_a_group_in_place_of_a_field_is_named(broken):
    root = broken("nyuv2")
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "a") as file:
        del file["depths"]
        file.create_group("depths")
    with pytest.raises(CorruptFileError, match=r"field `depths` of .* Found a Group"):
        FORMATS["nyuv2"].make(root)


def damaged(content: bytes, chance: random.Random) -> bytes:
    copy = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 8])):
        place = chance.randrange(min(len(copy), chance.choice([200, 4000, len(copy)])))
        piece = chance.choice([chance.randbytes(1), chance.randbytes(4), b"\xff" * 4, bytes(4)])
        copy[place : place + len(piece)] = piece
    return bytes(copy)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "file"), FILES)
def test_damage_anywhere_is_one_of_our_errors_or_another_value(broken, name, file):
    root, chance = broken(name), random.Random(0)
    whole = (root / file).read_bytes()
    for _ in range(20):
        (root / file).write_bytes(damaged(whole, chance))
        try:
            read_all(FORMATS[name], root)
        except (CorruptFileError, DatasetNotFoundError, LabelError) as error:
            assert Path(file).stem.split("_")[0] in str(error)
