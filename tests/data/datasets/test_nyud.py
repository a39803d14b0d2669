import pytest
import torch

from lightning_mtl.data import NYUDMT, NYUDMTDataModule
from tests.support import layouts


@pytest.fixture
def root(tmp_path):
    layouts.nyud(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("num_classes", "left", "right"), [(40, 0, 39), (13, 11, 6)])
def test_labels_count_from_one_on_disk(root, num_classes, left, right):
    labels = NYUDMT(root, num_classes=num_classes)[0]["segmentation"]
    assert torch.equal(labels, torch.from_numpy(layouts.halves(480, 640, left, right, 255)))


def test_depth_normals_and_edges_are_read_as_they_are(root):
    sample = NYUDMT(root, tasks=("depth", "normals", "edges"))[1]
    assert torch.equal(sample["depth"][0], torch.from_numpy(layouts.plane(480, 640)))
    assert not sample["normals"][:, 0].any()
    assert torch.allclose(sample["normals"][:, 1, 1], torch.from_numpy(layouts.NORMAL).float())
    assert torch.equal(sample["edges"], torch.from_numpy(layouts.halves(480, 640, 0, 1, 0)).float())


def test_only_training_is_augmented(root):
    data = NYUDMTDataModule(root, size=(48, 64), tasks=("depth",))
    train, val = data.dataset("train"), data.dataset("val")
    assert any(not torch.equal(train[0]["depth"], train[0]["depth"]) for _ in range(4))
    assert torch.equal(val[0]["depth"], val[0]["depth"])
    plain = NYUDMTDataModule(root, size=(48, 64), tasks=("depth",), augment=False).dataset("train")
    assert torch.equal(plain[0]["depth"], plain[0]["depth"])
