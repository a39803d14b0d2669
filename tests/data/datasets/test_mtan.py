import numpy as np
import pytest
import torch

from lightning_mtl.data import (
    CityscapesArrays,
    CityscapesArraysDataModule,
    CorruptFileError,
    DatasetNotFoundError,
    NYUv2Arrays,
    NYUv2ArraysDataModule,
    NYUv2Frames,
)
from tests.support import layouts

NORMAL = torch.from_numpy(layouts.NORMAL).float()


@pytest.fixture
def arrays(tmp_path):
    layouts.nyuv2_arrays(tmp_path)
    return tmp_path


@pytest.fixture
def streets(tmp_path):
    layouts.cityscapes_arrays(tmp_path)
    return tmp_path


def test_labels_depth_and_normals_are_in_our_conventions(arrays):
    sample = NYUv2Arrays(arrays)[0]
    labels = torch.from_numpy(layouts.halves(288, 384, 0, 12, 255))
    assert torch.equal(sample["segmentation"], labels)
    assert torch.equal(sample["depth"][0], torch.from_numpy(layouts.plane(288, 384)))
    assert not sample["normals"][:, 0].any()
    assert torch.allclose(sample["normals"][:, 1:], NORMAL[:, None, None].expand(3, 287, 384))


def test_frames_are_in_the_order_of_their_numbers(arrays):
    assert NYUv2Arrays(arrays).names == ["0", "1", "10"]


def test_folders_of_other_tasks_are_not_looked_at(arrays):
    (arrays / "train/label/1.npy").unlink()
    assert NYUv2Arrays(arrays, tasks=("depth",))[1].keys() == {"image", "depth"}
    with pytest.raises(DatasetNotFoundError, match=r"train/label/1.npy"):
        NYUv2Arrays(arrays)


def test_normals_that_look_away_from_the_camera_are_an_error(arrays):
    with pytest.raises(ValueError, match=r"should face the camera.*Found it at 0 %.*forward_up'"):
        NYUv2Arrays(arrays, normal_axes="right_down_forward")


@pytest.mark.parametrize(
    ("kind", "value"), [("image", 255.0), ("depth", -1.0), ("depth", np.nan), ("normal", 127.0)]
)
def test_values_outside_their_range_are_named(arrays, kind, value):
    path = arrays / f"train/{kind}/1.npy"
    values = np.load(path)
    values[5, 5] = value
    np.save(path, values)
    with pytest.raises(
        CorruptFileError, match=f"{kind}/1.npy.*should hold values from .* to .*Found"
    ):
        NYUv2Arrays(arrays, tasks=NYUv2Arrays.TASKS)[1]


def test_extra_frames_without_segmentation_are_mixed_into_training(arrays, tmp_path):
    extra = tmp_path / "extra"
    layouts.nyuv2_arrays(extra)
    for path in (extra / "train/label").iterdir():
        path.unlink()
    data = NYUv2ArraysDataModule(arrays, size=(36, 48), extra_root=extra, batch_size=6)
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == [6, 1, 1]
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert (batch["segmentation"] == 255).flatten(1).all(1).sum() == 3
    assert batch["normals"].flatten(1).any(1).all()


def test_each_number_of_classes_has_its_folder(streets):
    for classes in (2, 7, 19):
        labels = CityscapesArrays(streets, num_classes=classes)[0]["segmentation"]
        expected = torch.from_numpy(layouts.halves(128, 256, 0, classes - 1, 255))
        assert torch.equal(labels, expected)
    (streets / "train/label_7").rename(streets / "train/label")
    assert len(CityscapesArrays(streets, label_folder="label")) == 3
    with pytest.raises(ValueError, match=r"should be 2, 7 or 19. Found 8"):
        CityscapesArrays(streets, num_classes=8)


def test_disparity_keeps_the_scale_of_the_files(streets):
    disparity = CityscapesArrays(streets)[0]["disparity"][0]
    expected = torch.from_numpy(layouts.halves(128, 256, 2561, 5121, 0) / 65535).float()
    assert torch.allclose(disparity, expected)


def test_streets_are_augmented_in_training_if_asked(streets):
    data = CityscapesArraysDataModule(streets, augment=True)
    train, val = data.dataset("train"), data.dataset("val")
    assert any(not torch.equal(train[0]["disparity"], train[0]["disparity"]) for _ in range(4))
    assert torch.equal(val[0]["disparity"], val[0]["disparity"])


def test_the_real_arrays_are_the_real_frame_at_another_size(shared_data):
    """The arrays were made from frame 433; nothing may be mirrored, shifted or in other axes."""
    root = shared_data / "fixtures/nyuv2"
    sample = NYUv2Arrays(root / "derived/mtan")[0]
    frame = NYUv2Frames(root, 13, size=(288, 384))[0]
    assert (sample["image"] - frame["image"]).abs().mean() < 0.02
    assert (sample["segmentation"] == frame["segmentation"]).double().mean() > 0.97
    both = (sample["depth"] > 0) & (frame["depth"] > 0)
    assert (sample["depth"] - frame["depth"])[both].abs().median() < 0.01
    seen = sample["normals"].any(0) & frame["normals"].any(0)
    assert (sample["normals"] * frame["normals"]).sum(0)[seen].median() > 0.99
