"""Own data in folders: what is read, how it is split, and what is said of files that do not fit."""

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser
from PIL import Image

from lightning_mtl.cli import main
from lightning_mtl.data import DatasetNotFoundError, FoldersDataModule, LabelFileError
from tests.support.photos import smooth

ENTRIES = {
    "rooms": "classes",
    "depth": "depth_16bit",
    "normals": "normals_8bit",
    "people": "mask",
}
SIZES = ((20, 30), (40, 24), (32, 32))
FACING = np.array([0, 0, -1])


def write_frame(folder: Path, name: str, place: int) -> None:
    """An image whose left half is class 0 at 1 m, and whose right half is class 2 at 3 m."""
    height, width = SIZES[place % 3]
    right = np.arange(width) >= width // 2
    pictures = {
        "rooms": np.where(right, 2, 0).astype(np.uint8),
        "depth": np.where(right, 3000, 1000).astype(np.uint16),
        "people": np.where(right, 255, 0).astype(np.uint8),
        "normals": np.round(127.5 * (np.tile(FACING, (width, 1)) + 1)).astype(np.uint8),
    }
    (folder / "images").mkdir(parents=True, exist_ok=True)
    smooth((height, width), place).save(folder / "images" / f"{name}.jpg")
    for entry, row in pictures.items():
        (folder / entry).mkdir(exist_ok=True)
        rows = np.broadcast_to(row, (height, *row.shape)).copy()
        Image.fromarray(rows).save(folder / entry / f"{name}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for place in range(10):
        write_frame(tmp_path, f"frame_{place}", place)
    return tmp_path


def data(root: Path, **arguments: Any) -> FoldersDataModule:
    return FoldersDataModule(root, **{"size": (16, 24), "entries": ENTRIES, **arguments})


def names(module: FoldersDataModule, split: str) -> list[str]:
    frames = module.dataset(split)
    indices = getattr(frames, "indices", range(len(frames)))
    return [getattr(frames, "dataset", frames).names[index] for index in indices]


def test_a_sample_has_its_labels_at_the_size_that_was_asked_for(root):
    sample = data(root, augment=False).dataset("train")[0]
    assert {name: (tuple(value.shape), value.dtype) for name, value in sample.items()} == {
        "image": ((3, 16, 24), torch.float32),
        "rooms": ((16, 24), torch.int64),
        "depth": ((1, 16, 24), torch.float32),
        "normals": ((3, 16, 24), torch.float32),
        "people": ((16, 24), torch.float32),
    }
    assert sample["rooms"].unique().tolist() == [0, 2]
    assert sample["people"].unique().tolist() == [0, 1]
    assert torch.equal(sample["depth"][0].unique(), torch.tensor([1.0, 3.0]))
    right = sample["rooms"] == 2
    assert torch.equal(sample["people"] == 1, right)
    assert torch.equal(sample["depth"][0] == 3, right)
    torch.testing.assert_close(sample["normals"][2], -torch.ones(16, 24), atol=0.01, rtol=0)


def test_the_scale_of_depth_is_that_of_the_config(root):
    sample = data(root, depth_scale=0.01).dataset("val")[0]
    assert torch.equal(sample["depth"].unique(), torch.tensor([10.0, 30.0]))


def test_training_frames_are_flipped_and_zoomed_with_their_labels(root):
    torch.manual_seed(0)
    frames = data(root).dataset("train")
    samples = [frames[0] for _ in range(20)]
    assert {int(sample["rooms"][8, 0]) for sample in samples} == {0, 2}
    assert len({float(sample["depth"].max()) for sample in samples}) > 5
    for sample in samples:
        assert torch.equal(sample["people"] == 1, sample["rooms"] == 2)


def test_a_share_of_the_frames_is_held_out_and_tested_on_too(root):
    module = data(root)
    train, val, test = (names(module, split) for split in ("train", "val", "test"))
    assert len(train) == 8
    assert len(val) == 2
    assert val == test
    assert sorted(train + val) == [f"frame_{place}" for place in range(10)]
    assert names(data(root), "val") == val
    assert any(names(data(root, seed=seed), "val") != val for seed in range(1, 5))
    assert len(names(data(root, val_share=0.5), "train")) == 5


def test_folders_of_the_splits_are_used_where_they_are(tmp_path):
    for split, count in (("train", 4), ("val", 3), ("test", 2)):
        for place in range(count):
            write_frame(tmp_path / split, f"{split}_{place}", place)
    assert [len(names(data(tmp_path), split)) for split in ("train", "val", "test")] == [4, 3, 2]


def test_without_a_folder_to_validate_a_share_of_the_training_frames_is_held_out(tmp_path):
    for place in range(5):
        write_frame(tmp_path / "train", f"{place}", place)
    write_frame(tmp_path / "test", "other", 0)
    module = data(tmp_path)
    assert [len(names(module, split)) for split in ("train", "val")] == [4, 1]
    assert names(module, "test") == ["other"]


def test_a_frame_without_a_file_has_no_label_and_one_without_any_is_left_out(root):
    (root / "depth/frame_3.png").unlink()
    for entry in ENTRIES:
        (root / entry / "frame_4.png").unlink()
    for split in ("train", "val"):
        frames = data(root, augment=False).dataset(split)
        for name, sample in zip(names(data(root), split), frames, strict=True):
            assert name != "frame_4"
            assert ("depth" in sample) == (name != "frame_3")
    module = data(root, batch_size=9 - 2, augment=False)
    module.setup("fit")
    batch = next(iter(module.train_dataloader()))
    assert batch["depth"].shape[0] == batch["image"].shape[0] == 7


def test_own_names_of_entries_are_filled_and_moved_as_their_labels_are(root):
    (root / "rooms").rename(root / "zones")
    module = data(root, entries={"zones": "classes"}, batch_size=4)
    module.setup("fit")
    assert next(iter(module.train_dataloader()))["zones"].dtype == torch.int64


def test_hidden_files_and_folders_below_are_as_one_expects(root):
    (root / "images/._frame_0.jpg").write_bytes(b"\0\5\x16\7")
    (root / "rooms/._frame_0.png").write_bytes(b"\0\5\x16\7")
    for folder, suffix in (("images", "jpg"), ("rooms", "png")):
        (root / folder / "hall").mkdir()
        file = root / folder / f"frame_1.{suffix}"
        file.rename(root / folder / "hall" / file.name)
    with pytest.warns(UserWarning, match="have no image of their name"):
        found = names(data(root), "train") + names(data(root), "val")
    assert "hall/frame_1" in found
    assert len(found) == 10


def test_labels_without_an_image_are_told(root):
    (root / "images/frame_2.jpg").unlink()
    with pytest.warns(UserWarning, match=r"1 of 10 files in `.*rooms` have no image.*frame_2.png"):
        data(root, entries={"rooms": "classes"}).dataset("train")


def picture(array: np.ndarray, path: str):
    return lambda root: Image.fromarray(array).save(root / path)


BAD = {
    "no image": (lambda root: [f.unlink() for f in (root / "images").iterdir()], "images/.*jpg"),
    "no folder": (lambda root: (root / "rooms").rename(root / "room"), "rooms` should exist"),
    "other names": (
        lambda root: [f.rename(f.with_name(f"d_{f.name}")) for f in (root / "depth").iterdir()],
        r"depth` should have the names .* Found `d_frame_0.png` beside `frame_0.jpg`\. Rename",
    ),
    "two images of a name": (
        lambda root: (root / "images/frame_0.png").write_bytes(b""),
        r"one file for each frame\. Found `frame_0.jpg` and `frame_0.png`",
    ),
    "classes in colours": (
        picture(np.zeros((20, 30, 3), np.uint8), "rooms/frame_0.png"),
        r"rooms/frame_0.png` should be one class number .* Found 3 channels .*Translate colours",
    ),
    "a mask in colours": (
        picture(np.zeros((20, 30, 3), np.uint8), "people/frame_0.png"),
        r"people/frame_0.png` should be one number per pixel, 0 and 1 .* Found 3 channels",
    ),
    "a mask of classes": (
        picture(np.full((20, 30), 3, np.uint8), "people/frame_0.png"),
        r"people/frame_0.png` should be .* to 3\. Save .* `classes` if it has several",
    ),
    "depth of 8 bits": (
        picture(np.zeros((20, 30), np.uint8), "depth/frame_0.png"),
        r"depth/frame_0.png` should be one depth per pixel in 16 bits\. Found 1 channel of uint8",
    ),
    "another size": (
        picture(np.zeros((10, 15), np.uint8), "rooms/frame_0.png"),
        r"rooms/frame_0.png` should be as large as their image, 20 x 30 .* Found 10 x 15\. Resize",
    ),
    "a broken file": (
        lambda root: (root / "depth/frame_0.png").write_bytes(b"no picture"),
        r"depth/frame_0.png` should hold a picture that Pillow can read",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_files_that_do_not_fit_are_named_with_what_to_do(root, case):
    change, message = BAD[case]
    change(root)
    entries = {entry: word for entry, word in ENTRIES.items() if entry != "normals"}
    with pytest.raises((DatasetNotFoundError, ValueError), match=message):
        for split in ("train", "val"):
            list(data(root, entries=entries).dataset(split))


def test_normals_of_other_axes_are_an_error_that_names_the_axes_there_are(root):
    with pytest.raises(ValueError, match=r"should face the camera.*right_down_forward"):
        data(root, normal_axes="right_up_back").dataset("train")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": None}, r"`FoldersDataModule\(size=\)` should be the height and width .* None"),
        ({"entries": {}}, r"`FoldersDataModule\(entries=\)` should name the folders of labels"),
        ({"entries": {"image": "mask"}}, r"not that of the images\. Found .*image"),
        (
            {"entries": {"depth": "metres"}},
            r'`FoldersDataModule\(entries.depth=\)` should be one of "classes", "mask", .*metres',
        ),
        ({"depth_scale": 0}, r"`FoldersDataModule\(depth_scale=\)` should be"),
        ({"val_share": 1.0}, r"`FoldersDataModule\(val_share=\)` should be"),
    ],
    ids=["no size", "no entries", "the image", "an unknown word", "no scale", "all held out"],
)
def test_arguments_that_are_missing_or_wrong_are_named(root, arguments, message):
    with pytest.raises(ValueError, match=message):
        data(root, **arguments)


def test_no_root_is_an_error_when_frames_are_asked_for():
    with pytest.raises(ValueError, match=r"`FoldersDataModule\(root=\)` should be the folder"):
        data(None).dataset("train")


def test_one_frame_is_too_few_to_hold_one_out(tmp_path):
    write_frame(tmp_path, "only", 0)
    with pytest.raises(ValueError, match=r"should have at least 2 frames .* Found 1\. Add"):
        data(tmp_path).dataset("train")


def test_errors_of_label_files_survive_the_way_from_another_process():
    error = LabelFileError("a.png", "grey", "colours", "Save it as grey.")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_every_argument_can_be_given_in_yaml():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(FoldersDataModule, "data")
    text = "data: {root: photos, size: [8, 8], entries: {depth: depth_16bit}, val_share: 0.5}"
    parsed = parser.parse_string(text).data
    assert parsed.entries == {"depth": "depth_16bit"}
    with pytest.raises(ArgumentError, match="metres"):
        parser.parse_string("data: {root: photos, entries: {depth: metres}}")


CONFIG = """
data:
  class_path: FoldersDataModule
  init_args:
    root: .
    size: [32, 32]
    entries: {segmentation: classes, depth: depth_16bit}
    batch_size: 4
model:
  class_path: DensePrediction
  init_args:
    tasks:
    - {class_path: Segmentation, init_args: {num_classes: 3}}
    - {class_path: Depth}
    network: {class_path: SharedEncoder, init_args: {encoder: resnet18, decoder: fpn}}
trainer:
  accelerator: cpu
  max_epochs: 1
  logger: {class_path: CSVLogger, init_args: {save_dir: runs}}
  enable_progress_bar: false
"""


@pytest.mark.slow
def test_a_config_alone_trains_on_own_data_and_predicts_on_plain_photos(root, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])
    (root / "rooms").rename(root / "segmentation")
    (root / "config.yaml").write_text(CONFIG)
    (root / "holiday").mkdir()
    smooth((50, 70), 1).save(root / "holiday/beach.jpg")
    main(["fit", "--config=config.yaml"])
    (checkpoint,) = root.rglob("*.ckpt")
    (saved,) = root.rglob("version_0/config.yaml")
    assert (
        yaml.safe_load(saved.read_text())["data"]["init_args"]["entries"]["depth"] == "depth_16bit"
    )
    predicting = ["--ckpt_path", str(checkpoint), "--data.predict", "holiday"]
    main(["predict", "--config=config.yaml", *predicting])
    (written,) = root.rglob("beach_depth.png")
    with Image.open(written) as image:
        assert image.size == (70, 50)
    assert {path.name for path in written.parent.iterdir()} == {
        "beach_depth.png",
        "beach_panel.png",
        "beach_segmentation.png",
    }
