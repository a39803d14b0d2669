"""Folders of photos: which files count, what is read of them, and how a data module serves them."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_mtl.data import (
    CorruptFileError,
    DatasetNotFoundError,
    MultiMNISTDataModule,
    MultiTaskDataModule,
    NYUDMTDataModule,
    Photos,
    RoomsDataModule,
    collate_photos,
)
from lightning_mtl.data.datamodule import DeclaredDataModule
from tests.support.photos import SIZES, smooth, write_photos
from tests.support.toy import quiet_trainer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


def read(folder: Path, name: str) -> Tensor:
    photos = Photos(folder)
    return photos[photos.names.index(name)]["image"]


def colors(place: int, size: tuple[int, int]) -> Tensor:
    return torch.from_numpy(np.array(smooth(size, place))).permute(2, 0, 1) / 255


def test_all_photos_are_found_in_order_and_nothing_else(folder):
    assert Photos(folder).names == list(SIZES)


def test_samples_have_name_and_size_of_the_file_and_colours_from_0_to_1(folder):
    for sample in Photos(folder):
        assert sample["image_size"] == SIZES[sample["image_name"]]
        assert sample["image"].shape == (3, *SIZES[sample["image_name"]])
        assert sample["image"].dtype == torch.float32
        assert 0 <= sample["image"].min() < sample["image"].max() <= 1


def test_a_photo_of_a_turned_camera_is_upright(folder):
    place = list(SIZES).index("turned.jpeg")
    expected = colors(place, SIZES["turned.jpeg"])
    assert (read(folder, "turned.jpeg") - expected).abs().mean() < 0.03


def test_grey_of_16_bits_and_of_8_keeps_its_range(folder):
    for name in ("grey.png", "scan.tiff"):
        image = read(folder, name)
        grey = smooth(SIZES[name], list(SIZES).index(name)).convert("L")
        expected = torch.from_numpy(np.array(grey)) / 255
        torch.testing.assert_close(image, expected.expand(3, -1, -1), atol=1e-4, rtol=0)


def test_what_is_transparent_is_white(folder):
    image = read(folder, "cut_out.png")
    place = list(SIZES).index("cut_out.png")
    assert (image[:, 0] > 0.98).all()
    assert (image[:, -1] - colors(place, SIZES["cut_out.png"])[:, -1]).abs().max() < 0.05


@pytest.mark.parametrize("name", ["palette.png", "printed.tif"])
def test_palettes_and_printing_colours_become_rgb(folder, name):
    expected = colors(list(SIZES).index(name), SIZES[name])
    assert (read(folder, name) - expected).abs().mean() < 0.1


def test_numbers_of_a_float_tiff_are_colours_if_they_can_be(tmp_path):
    for name, value in (("a.tif", 0.25), ("b.tif", 7.0)):
        Image.fromarray(np.full((4, 4), value, np.float32)).save(tmp_path / name)
    photos = Photos(tmp_path)
    assert (photos[0]["image"] == 0.25).all()
    with pytest.raises(CorruptFileError, match=r"b.tif.*outside 0 to 1"):
        photos[1]


@pytest.mark.parametrize("size", [(36, 44), (90, 110)], ids=["smaller", "larger"])
def test_photos_are_scaled_to_as_many_pixels_as_the_network_knows(folder, size):
    for sample in Photos(folder, size):
        height, width = sample["image"].shape[1:]
        own = SIZES[sample["image_name"]]
        assert height * width == pytest.approx(size[0] * size[1], rel=0.05)
        assert height / width == pytest.approx(own[0] / own[1], rel=0.05)
        assert sample["image_size"] == own


def test_one_file_is_a_folder_of_one(folder):
    (sample,) = Photos(folder / "beach" / "one.jpg")
    assert sample["image_name"] == "one.jpg"


@pytest.mark.parametrize(
    "content",
    [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n" + bytes(60)],
    ids=["empty", "a text", "a header alone"],
)
def test_a_broken_photo_is_named(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"image `.*a.png` should hold a picture .*Found"):
        Photos(tmp_path)[0]


def test_half_a_photo_is_named(tmp_path, folder):
    whole = (folder / "turned.jpeg").read_bytes()
    (tmp_path / "half.jpeg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFileError, match=r"half.jpeg"):
        Photos(tmp_path)[0]


@pytest.mark.parametrize("kind", ["missing", "empty", "a text"])
def test_a_folder_without_photos_is_an_error_that_says_what_was_looked_for(tmp_path, kind):
    path = tmp_path / kind
    if kind == "empty":
        path.mkdir()
        (path / "._a.jpg").write_bytes(b"\0\5\x16\7")
    elif kind == "a text":
        path.write_text("July")
    expected = rf"/{kind}.* should exist\. .*\n.*\n.*{kind}  an image \(\.jpg, \.jpeg, \.png,"
    with pytest.raises(DatasetNotFoundError, match=expected):
        Photos(path)


@dataclass(kw_only=True, eq=False)
class Unlabelled(DeclaredDataModule):
    """A data module whose data set is not on this machine."""

    def dataset(self, split):
        raise AssertionError("prediction on photos needs no other data")


class Plain(MultiTaskDataModule):
    def dataset(self, split):
        raise AssertionError("prediction on photos needs no other data")


class Own(MultiTaskDataModule):
    """One that was written before there was `predict`."""

    def __init__(self) -> None:
        super().__init__(2)

    def dataset(self, split):
        return [{"image": torch.zeros(3, 2, 2)}] * 3


@pytest.mark.parametrize("kind", [Unlabelled, Plain], ids=["declared", "of a user"])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_module_serves_the_photos_without_its_own_data(folder, kind, workers):
    data = kind(predict=folder, num_workers=workers)
    data.setup("predict")
    batches = list(data.predict_dataloader())
    assert [batch["image_name"] for batch in batches] == [[name] for name in SIZES]
    assert [batch["image_size"] for batch in batches] == [[size] for size in SIZES.values()]
    assert all(batch["image"].shape == (1, 3, *batch["image_size"][0]) for batch in batches)


@pytest.mark.parametrize(
    ("data", "pixels"),
    [
        (RoomsDataModule(size=(24, 32)), 24 * 32),
        (NYUDMTDataModule(size=None), None),
        (MultiMNISTDataModule(size=28), 28 * 28),
    ],
    ids=["a size", "none", "one side"],
)
def test_photos_have_the_size_that_the_samples_have(folder, data, pixels):
    data.predict = folder
    data.setup("predict")
    image = next(iter(data.predict_dataloader()))["image"]
    assert image[0, 0].numel() == pytest.approx(pixels or 24 * 60, rel=0.05)


def test_a_data_module_without_photos_predicts_on_the_test_split():
    data = Own()
    assert data.predict is None
    data.setup("predict")
    assert [len(batch["image"]) for batch in data.predict_dataloader()] == [2, 1]


def test_photos_of_one_size_may_share_a_batch(folder, tmp_path):
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(folder / "beach/one.jpg", tmp_path / name)
    (batch,) = DataLoader(Photos(tmp_path), batch_size=2, collate_fn=collate_photos)
    assert batch["image"].shape == (2, 3, 40, 48)
    assert batch["image_name"] == ["a.jpg", "b.jpg"]


class Names(L.LightningModule):
    def predict_step(self, batch: dict[str, list[str]], batch_idx: int) -> list[str]:
        return batch["image_name"]


def test_a_trainer_passes_names_through_as_they_are(folder):
    data = RoomsDataModule(size=(24, 32), predict=folder)
    assert quiet_trainer().predict(Names(), datamodule=data) == [[name] for name in SIZES]
