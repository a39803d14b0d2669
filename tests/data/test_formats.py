"""What all formats share: shapes and types, where data is sought, and what errors say."""

import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from lightning_mtl.data import (
    BSDS500,
    MOSD,
    NYUDMT,
    CelebA,
    Cityscapes,
    CityscapesArrays,
    CorruptFileError,
    DatasetNotFoundError,
    LabelError,
    MultiMNIST,
    NYUv2,
    NYUv2Arrays,
    NYUv2Frames,
    PASCALContext,
    collate,
)
from tests.data import layouts


@dataclass
class Format:
    """A data set, the folder that a test writes for it, and what is in that folder.

    Attributes:
        dataset: The class.
        write: Writes the folder.
        variable: Environment variable of the folder.
        entries: Shape and dtype of the entries of a sample.
        files: Of the frame at index 1 of the training split.
        labels: A file of `files` with class labels, and a label without a meaning.
        listed: Path that an empty split leaves empty; a folder or a list.
    """

    dataset: Callable[..., Dataset]
    write: Callable[[Path], None]
    variable: str
    entries: dict[str, tuple[tuple[int, ...], torch.dtype]]
    files: tuple[str, ...]
    listed: str
    labels: tuple[str, int] | None = None
    options: dict[str, object] = field(default_factory=dict)

    def make(self, root: Path | None, **options: object) -> Dataset:
        return self.dataset(root, **{**self.options, **options})


def image(height: int, width: int) -> tuple[tuple[int, ...], torch.dtype]:
    return (3, height, width), torch.float32


def scene(height: int, width: int) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    return {
        "image": image(height, width),
        "segmentation": ((height, width), torch.int64),
        "depth": ((1, height, width), torch.float32),
        "normals": image(height, width),
    }


def flat(height: int, width: int) -> tuple[tuple[int, ...], torch.dtype]:
    return (height, width), torch.float32


CLASS = ((), torch.int64)
FORMATS = {
    "nyuv2": Format(
        NYUv2,
        layouts.nyuv2,
        "LIGHTNING_MTL_NYUV2",
        scene(480, 640),
        files=("nyu_depth_v2_labeled.mat", "splits.mat", "classMapping40.mat"),
        listed="splits.mat",
    ),
    "nyuv2_frames": Format(
        NYUv2Frames,
        layouts.nyuv2_frames,
        "LIGHTNING_MTL_NYUV2_FRAMES",
        scene(480, 640),
        files=("rgb/1.png", "depth_x5000/1.png", "label40/1.png", "normals_xzy/1.png"),
        listed="rgb",
        labels=("label40/1.png", 40),
    ),
    "nyuv2_arrays": Format(
        NYUv2Arrays,
        layouts.nyuv2_arrays,
        "LIGHTNING_MTL_NYUV2_MTAN",
        scene(288, 384),
        files=tuple(f"train/{kind}/1.npy" for kind in ("image", "label", "depth", "normal")),
        listed="train/image",
        labels=("train/label/1.npy", 13),
    ),
    "nyud": Format(
        NYUDMT,
        layouts.nyud,
        "LIGHTNING_MTL_NYUD_MT",
        {**scene(480, 640), "edges": flat(480, 640)},
        files=(
            *("images/1.jpg", "segmentation/1.png", "depth/1.npy", "normals/1.npy"),
            "edge/1.npy",
        ),
        listed="gt_sets/train.txt",
        labels=("segmentation/1.png", 41),
        options={"tasks": NYUDMT.TASKS},
    ),
    "mosd": Format(
        MOSD,
        layouts.mosd,
        "LIGHTNING_MTL_MOSD",
        {**scene(480, 640), "edges": flat(480, 640)},
        files=("rgb/1.jpg", "depth_mm/1.png", "label/1.png"),
        listed="train.txt",
        labels=("label/1.png", 12),
        options={"tasks": MOSD.TASKS, "size": (480, 640), "cache": False},
    ),
    "cityscapes": Format(
        Cityscapes,
        layouts.cityscapes,
        "LIGHTNING_MTL_CITYSCAPES",
        {
            "image": image(64, 128),
            "segmentation": ((64, 128), torch.int64),
            "disparity": ((1, 64, 128), torch.float32),
            "depth": ((1, 64, 128), torch.float32),
        },
        files=(
            "leftImg8bit/train/ulm/ulm_000001_leftImg8bit.png",
            "gtFine/train/ulm/ulm_000001_gtFine_labelIds.png",
            "disparity/train/ulm/ulm_000001_disparity.png",
            "camera/train/ulm/ulm_000001_camera.json",
        ),
        listed="leftImg8bit/train",
        labels=("gtFine/train/ulm/ulm_000001_gtFine_labelIds.png", 34),
        options={"tasks": Cityscapes.TASKS},
    ),
    "cityscapes_arrays": Format(
        CityscapesArrays,
        layouts.cityscapes_arrays,
        "LIGHTNING_MTL_CITYSCAPES_MTAN",
        {
            "image": image(128, 256),
            "segmentation": ((128, 256), torch.int64),
            "disparity": ((1, 128, 256), torch.float32),
        },
        files=tuple(f"train/{kind}/1.npy" for kind in ("image", "label_7", "depth")),
        listed="train/image",
        labels=("train/label_7/1.npy", 7),
    ),
    "pascal": Format(
        PASCALContext,
        layouts.pascal,
        "LIGHTNING_MTL_PASCAL_MT",
        {
            "image": image(40, 60),
            "segmentation": ((40, 60), torch.int64),
            "human_parts": ((40, 60), torch.int64),
            "saliency": flat(40, 60),
            "edges": flat(40, 60),
            "normals": image(40, 60),
        },
        files=(
            *("JPEGImages/1.jpg", "semseg/VOC12/1.png", "human_parts/1.mat"),
            *("sal_distill/1.png", "normals_distill/1.png", "pascal-context/trainval/1.mat"),
        ),
        listed="ImageSets/Context/train.txt",
        labels=("semseg/VOC12/1.png", 21),
        options={"size": None},
    ),
    "bsds": Format(
        BSDS500,
        layouts.bsds,
        "LIGHTNING_MTL_BSDS500",
        {
            "image": image(32, 48),
            "edges": flat(32, 48),
            "annotators": ((3, 32, 48), torch.float32),
        },
        files=("images/train/1.jpg", "groundTruth/train/1.mat"),
        listed="images/train",
    ),
    "celeba": Format(
        CelebA,
        layouts.celeba,
        "LIGHTNING_MTL_CELEBA",
        {"image": image(64, 64), "attributes": ((40,), torch.float32)},
        files=(
            "img_align_celeba/000002.jpg",
            "list_attr_celeba.txt",
            "list_eval_partition.txt",
        ),
        listed="list_eval_partition.txt",
    ),
    "multimnist": Format(
        MultiMNIST,
        layouts.mnist,
        "LIGHTNING_MTL_MNIST",
        {"image": image(36, 36), "left": CLASS, "right": CLASS},
        files=(
            "MNIST/raw/t10k-images-idx3-ubyte.gz",
            "MNIST/raw/t10k-labels-idx1-ubyte.gz",
        ),
        listed="MNIST/raw/t10k-labels-idx1-ubyte.gz",
        options={"digits": "t10k"},
    ),
}
FILES = [(name, file) for name, form in FORMATS.items() for file in form.files]


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> dict[str, Path]:
    """One untouched folder per format."""
    folders = {name: tmp_path_factory.mktemp(name) for name in FORMATS}
    for name, folder in folders.items():
        FORMATS[name].write(folder)
    return folders


@pytest.fixture
def broken(written, tmp_path) -> Callable[[str], Path]:
    """Copies a folder, to damage the copy."""
    return lambda name: Path(shutil.copytree(written[name], tmp_path / name))


def read_all(form: Format, root: Path) -> None:
    dataset = form.make(root)
    for index in range(len(dataset)):
        dataset[index]


@pytest.mark.parametrize("name", FORMATS)
def test_samples_have_the_shapes_and_types_of_their_entries(written, name):
    form = FORMATS[name]
    sample = form.make(written[name])[0]
    assert {key: (tuple(value.shape), value.dtype) for key, value in sample.items()} == form.entries
    assert 0 <= sample["image"].amin() <= sample["image"].amax() <= 1


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"nyuv2_frames"}))
def test_one_split_does_not_see_the_other(written, name):
    sizes = [len(FORMATS[name].make(written[name], split=s)) for s in ("train", "val", "test")]
    assert sizes == ([16, 2, 2] if name == "multimnist" else [3, 1, 1])


@pytest.mark.parametrize("name", FORMATS)
def test_worker_processes_read_the_same_samples(written, name):
    dataset = FORMATS[name].make(written[name])
    again = pickle.loads(pickle.dumps(dataset))
    assert all(torch.equal(value, again[1][key]) for key, value in dataset[1].items())


def test_frames_of_an_open_file_can_be_read_by_workers(written):
    """HDF5 handles do not survive the way to another process, so none is kept."""
    dataset = NYUv2(written["nyuv2"], size=(24, 32), tasks=("depth",))
    loader = DataLoader(dataset, 2, num_workers=2, collate_fn=collate)
    depth = torch.cat([batch["depth"] for batch in loader])
    assert torch.equal(depth, torch.stack([dataset[i]["depth"] for i in range(3)]))


@pytest.mark.parametrize("name", FORMATS)
def test_the_root_may_come_from_the_environment(written, name, monkeypatch):
    monkeypatch.setenv(FORMATS[name].variable, str(written[name]))
    assert len(FORMATS[name].make(None)) >= 3


@pytest.mark.parametrize("name", FORMATS)
def test_without_a_root_the_error_says_what_to_do(name, monkeypatch):
    form = FORMATS[name]
    monkeypatch.delenv(form.variable, raising=False)
    with pytest.raises(DatasetNotFoundError) as error:
        form.make(None)
    assert f"set the environment variable {form.variable}" in str(error.value)
    assert "Expected layout:\nroot/" in str(error.value)


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


@pytest.mark.parametrize(("name", "removed", "named"), MISSING)
def test_what_is_missing_is_named(broken, name, removed, named):
    root = broken(name)
    if (root / removed).is_dir():
        shutil.rmtree(root / removed)
    else:
        (root / removed).unlink()
    with pytest.raises(
        DatasetNotFoundError, match=rf"/{named}.* does not exist\.\nExpected layout"
    ):
        FORMATS[name].make(root)


@pytest.mark.parametrize(("name", "file"), FILES)
def test_a_truncated_file_is_named(broken, name, file):
    root = broken(name)
    whole = (root / file).read_bytes()
    (root / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFileError, match=rf"{file}` is corrupt. Expected .* Found "):
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
    with pytest.raises(CorruptFileError, match=rf"{other}` is corrupt\. Expected .* Found "):
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
    with pytest.raises(CorruptFileError, match=rf"{file}` is corrupt\. .*(kind|uint).* Found .*"):
        read_all(FORMATS[name], root)


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.labels])
def test_a_label_without_a_meaning_is_named(broken, name):
    root = broken(name)
    file, wrong = FORMATS[name].labels
    path = root / file
    labels = np.load(path) if path.suffix == ".npy" else np.array(Image.open(path))
    labels[2, 3] = wrong
    layouts.save(path, labels)
    with pytest.raises(LabelError, match=rf"{file}` has labels .* Found \[{wrong}\]"):
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
    with pytest.raises(ValueError, match=r"`tasks` must be among .* Found \['flow'\]"):
        FORMATS[name].make(written[name], tasks=("flow",))


@pytest.mark.parametrize(
    ("field_name", "change", "message"),
    [
        ("labels", lambda a: a.astype(np.uint8), r"frames \(640, 480\) uint16.* uint8"),
        ("images", lambda a: a[:, :1], r"frames \(3, 640, 480\) uint8.* \(1, 640, 480\) uint8"),
        ("depths", None, r"frames \(640, 480\) float32.* only \['images', 'labels'"),
    ],
)
def test_a_wrong_field_of_the_official_nyuv2_is_named(broken, field_name, change, message):
    root = broken("nyuv2")
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "a") as file:
        values = file[field_name][()]
        del file[field_name]
        if change:
            file[field_name] = change(values)
    with pytest.raises(CorruptFileError, match=rf"field `{field_name}` of `.*Expected {message}"):
        NYUv2(root)
