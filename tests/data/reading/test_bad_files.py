"""What is said of files that are missing, broken, of another kind, or of another data set."""

import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from lightning_mtl.data import (
    CorruptFileError,
    DatasetNotFoundError,
    LabelError,
    NYUv2,
)
from tests.support import layouts
from tests.support.formats import FILES, FORMATS, read_all

MISSING = [
    # Where the images say which frames there are, a whole folder is missed; so are extra labels.
    ("nyuv2_frames", "rgb", "rgb"),
    ("nyuv2_frames", "depth_x5000", "depth_x5000/<name>.png"),
    ("nyuv2_frames", "label40", "label40/<name>.png"),
    ("nyuv2_arrays", "train", "train"),
    ("nyuv2_arrays", "train/image", "train/image"),
    ("nyuv2_arrays", "train/normal", "train/normal"),
    ("cityscapes", "leftImg8bit/train", "leftImg8bit/train"),
    ("cityscapes_arrays", "train/label_7", "train/label_7"),
    ("bsds", "images/train", "images/train"),
    *(
        (name, file, file.removesuffix(".gz"))
        for name, file in FILES
        if name != "nyuv2_frames" and not re.search(r"train/image/|leftImg8bit|images/train", file)
    ),
]


@pytest.mark.parametrize(
    ("name", "removed", "named"),
    MISSING,
    ids=[f"{name}-{Path(removed).name}" for name, removed, _ in MISSING],
)
def test_what_is_missing_is_named(broken, name, removed, named):
    root = broken(name)
    if (root / removed).is_dir():
        shutil.rmtree(root / removed)
    else:
        (root / removed).unlink()
    with pytest.raises(
        DatasetNotFoundError, match=rf"/{named}.* should exist\. .*\nExpected layout"
    ):
        FORMATS[name].make(root)


@pytest.mark.parametrize(("name", "file"), FILES)
def test_a_truncated_file_is_named(broken, name, file):
    root = broken(name)
    whole = (root / file).read_bytes()
    (root / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFileError, match=rf"{file}` should hold .* Found .* corrupt: fetch"):
        read_all(FORMATS[name], root)


@pytest.mark.parametrize(
    ("name", "file"),
    [(name, file) for name, file in FILES if file.endswith((".png", ".jpg", ".npy"))],
)
def test_a_file_of_another_shape_is_named(broken, name, file):
    root = broken(name)
    path = root / file
    array = np.load(path) if path.suffix == ".npy" else np.array(Image.open(path))
    layouts.save(path, array[1:].copy())
    other = path.name if name not in ("cityscapes", "pascal", "bsds") else ""
    # Formats of any size measure the labels by the image, so a short image accuses the labels.
    with pytest.raises(CorruptFileError, match=rf"{other}` should hold .* Found .* corrupt: fetch"):
        read_all(FORMATS[name], root)


@pytest.mark.parametrize(
    ("name", "file"), [(name, file) for name, file in FILES if file.endswith((".png", ".npy"))]
)
def test_a_file_of_another_type_is_named(broken, name, file):
    root = broken(name)
    path = root / file
    if path.suffix == ".npy":
        wrong = np.load(path).astype(np.complex64)
    else:
        pixels = np.array(Image.open(path))
        wrong = pixels.astype(np.uint8 if pixels.dtype == np.uint16 else np.uint16)
        if pixels.ndim == 3:
            wrong = pixels[..., 0].astype(np.uint16)
    layouts.save(path, wrong)
    with pytest.raises(
        CorruptFileError, match=rf"{file}` should hold .*(kind|uint).* Found .* corrupt: fetch"
    ):
        read_all(FORMATS[name], root)


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.labels])
def test_a_label_without_a_meaning_is_named(broken, name):
    root = broken(name)
    file, wrong = FORMATS[name].labels
    path = root / file
    labels = np.load(path) if path.suffix == ".npy" else np.array(Image.open(path))
    labels[2, 3] = wrong
    layouts.save(path, labels)
    with pytest.raises(LabelError, match=rf"labels of `.*{file}` should be .* Found \[{wrong}\]"):
        read_all(FORMATS[name], root)


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_split_is_named(broken, name):
    root = broken(name)
    path = root / FORMATS[name].listed
    if path.is_dir():
        shutil.rmtree(path)
        path.mkdir()
    elif path.suffix == ".mat":
        scipy.io.savemat(path, {"trainNdxs": np.zeros((0, 1)), "testNdxs": np.zeros((0, 1))})
    elif path.suffix == ".txt":
        path.write_text("")
    else:
        path.write_bytes(b"")
    with pytest.raises((CorruptFileError, DatasetNotFoundError), match=FORMATS[name].listed):
        FORMATS[name].make(root)


@pytest.mark.parametrize("given", FORMATS)
@pytest.mark.parametrize("name", FORMATS)
def test_the_folder_of_another_format_is_an_error(written, name, given):
    if name == given:
        assert len(FORMATS[name].make(written[given])) >= 3
        return
    with pytest.raises((CorruptFileError, DatasetNotFoundError), match=str(written[given])):
        FORMATS[name].make(written[given])[0]


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"bsds"}))
def test_an_unknown_task_is_named(written, name):
    with pytest.raises(ValueError, match=r"`tasks` should be among .* Found \['flow'\]"):
        FORMATS[name].make(written[name], tasks=("flow",))


@pytest.mark.parametrize(
    ("field_name", "change", "message"),
    [
        ("labels", lambda a: a.astype(np.uint8), r"frames \(640, 480\) uint16.* uint8"),
        ("images", lambda a: a[:, :1], r"frames \(3, 640, 480\) uint8.* \(1, 640, 480\) uint8"),
        ("depths", None, r"frames \(640, 480\) float32.* only \['images', 'labels'"),
    ],
    ids=["labels of bytes", "images of one channel", "no depths"],
)
def test_a_wrong_field_of_the_official_nyuv2_is_named(broken, field_name, change, message):
    root = broken("nyuv2")
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "a") as file:
        values = file[field_name][()]
        del file[field_name]
        if change:
            file[field_name] = change(values)
    with pytest.raises(
        CorruptFileError, match=rf"field `{field_name}` of `.*should hold {message}"
    ):
        NYUv2(root)
