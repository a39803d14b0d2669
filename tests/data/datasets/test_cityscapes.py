import json

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_mtl.data import Cityscapes, CityscapesDataModule, CorruptFileError
from tests.support import layouts


@pytest.fixture
def root(tmp_path):
    layouts.cityscapes(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("num_classes", "left", "right"), [(19, 0, 18), (7, 0, 6)])
def test_labels_become_classes_or_categories(root, num_classes, left, right):
    labels = Cityscapes(root, num_classes=num_classes)[0]["segmentation"]
    assert torch.equal(labels, torch.from_numpy(layouts.halves(64, 128, left, right, 255)))


def test_there_are_19_or_7_classes(root):
    with pytest.raises(ValueError, match=r"should be 7 or 19. Found 30"):
        Cityscapes(root, num_classes=30)


def test_disparity_is_in_pixels_and_depth_in_metres(root):
    """Stored 2561 and 5121 are 10 and 20 pixels; 0.2 m x 2000 pixels give 40 m and 20 m."""
    sample = Cityscapes(root, tasks=("disparity", "depth"))[0]
    assert torch.equal(
        sample["disparity"][0], torch.from_numpy(layouts.halves(64, 128, 10, 20, 0)).float()
    )
    assert torch.allclose(
        sample["depth"][0], torch.from_numpy(layouts.halves(64, 128, 40, 20, 0)).float()
    )
    assert Cityscapes(root, tasks=("depth",))[0].keys() == {"image", "depth"}


def test_a_calibration_without_a_baseline_is_named(root):
    path = root / "camera/train/ulm/ulm_000001_camera.json"
    path.write_text(json.dumps({"intrinsic": {"fx": 1.0}}))
    with pytest.raises(CorruptFileError, match=r"ulm_000001_camera.*extrinsic.baseline.*KeyError"):
        Cityscapes(root, tasks=("depth",))[1]


def test_a_picture_that_belongs_to_another_frame_size_is_named(root):
    path = root / "gtFine/train/ulm/ulm_000000_gtFine_labelIds.png"
    layouts.save(path, np.zeros((32, 64), np.uint8))
    with pytest.raises(CorruptFileError, match=r"ulm_000000_gtFine.*\(64, 128\).*Found \(32, 64\)"):
        Cityscapes(root)[0]


def test_only_training_is_augmented(root):
    data = CityscapesDataModule(root, size=(32, 64), tasks=("disparity",))
    train, test = data.dataset("train"), data.dataset("test")
    assert any(not torch.equal(train[0]["disparity"], train[0]["disparity"]) for _ in range(4))
    assert torch.equal(test[0]["disparity"], test[0]["disparity"])
    assert test[0]["image"].shape == (3, 32, 64)


def test_the_real_19_classes_are_the_official_train_ids(shared_data):
    root = shared_data / "fixtures/cityscapes"
    dataset = Cityscapes(root, "val", tasks=("segmentation",))
    assert len(dataset) == 1
    folder = root / "gtFine/val/frankfurt"
    path = folder / "frankfurt_000000_000294_gtFine_labelTrainIds.png"
    expected = torch.from_numpy(np.array(Image.open(path))).long()
    found = dataset[0]["segmentation"]
    # The two files were shrunk apart from each other, so they differ along some borders.
    assert (found == expected).double().mean() > 0.997
    categories = Cityscapes(root, "val", 7, tasks=("segmentation",))[0]["segmentation"]
    of_19 = [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 5, 6, 6, 6, 6, 6, 6]
    table = torch.tensor([*of_19, *[255] * 237])
    assert torch.equal(categories, table[found])
