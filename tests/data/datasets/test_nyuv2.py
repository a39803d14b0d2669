import shutil

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from lightning_mtl.data import CorruptFileError, NYUv2, NYUv2DataModule, NYUv2Frames, collate
from lightning_mtl.data.datasets.nyuv2_classes import (
    CLASSES_13,
    CLASSES_40,
    classes_of_40,
    table_of_40,
)
from tests.support import layouts

NORMAL = torch.from_numpy(layouts.NORMAL).float()


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    root = tmp_path_factory.mktemp("nyuv2")
    layouts.nyuv2(root)
    return root


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    root = tmp_path_factory.mktemp("nyuv2_frames")
    layouts.nyuv2_frames(root)
    return root


def test_frames_come_upright_and_in_the_order_of_the_split(official):
    dataset = NYUv2(official, tasks=("depth",))
    brightness = [dataset[i]["image"].unique().mul(255).round().tolist() for i in range(3)]
    assert brightness == [[0], [1], [3]]
    assert torch.equal(dataset[0]["depth"][0], torch.from_numpy(layouts.plane(480, 640)))
    assert NYUv2(official, "test", tasks=())[0]["image"].unique().mul(255).round().item() == 2


def test_labels_of_894_become_classes_of_40_or_13(official):
    for num_classes, left, right in ((40, 3, 39), (13, 0, 6)):
        dataset = NYUv2(official, num_classes=num_classes, tasks=("segmentation",))
        labels = dataset[0]["segmentation"]
        expected = torch.from_numpy(layouts.halves(480, 640, left, right, 255))
        assert torch.equal(labels, expected)


def test_normals_come_from_the_depth_or_from_pictures(official, tmp_path):
    computed = NYUv2(official)[0]["normals"]
    near = computed[:, 10:-10, 10:-10]
    seen = near.any(0)
    assert seen.double().mean() > 0.4  # the plane leaves the view where it tilts away
    assert ((near * NORMAL[:, None, None]).sum(0)[seen] > 0.999).double().mean() > 0.95
    for number in (1, 2, 4):
        layouts.save(tmp_path / f"{number:06d}.png", layouts.encoded_normals(480, 640))
    read = NYUv2(official, normals=tmp_path)[1]["normals"]
    assert not read[:, 0].any()
    assert torch.allclose(read[:, 1:], NORMAL[:, None, None].expand(3, 479, 640), atol=0.006)


def test_raw_depth_has_the_holes_of_the_sensor(official):
    assert not NYUv2(official, raw_depth=True, tasks=("depth",))[0]["depth"].any()


@pytest.mark.parametrize("numbers", [[0, 1], [1, 5], []])
def test_a_split_of_other_frames_is_an_error(official, tmp_path, numbers):
    root = shutil.copytree(official, tmp_path / "root")
    columns = np.array(numbers).reshape(-1, 1)
    scipy.io.savemat(root / "splits.mat", {"trainNdxs": columns})
    with pytest.raises(CorruptFileError, match=r"`trainNdxs` of .*splits.mat.*from 1 to 4"):
        NYUv2(root)


def test_a_mapping_of_other_classes_is_an_error(official, tmp_path):
    root = shutil.copytree(official, tmp_path / "root")
    scipy.io.savemat(root / "classMapping40.mat", {"mapClass": np.arange(894)})
    with pytest.raises(CorruptFileError, match=r"from 1 to 40. Found 894 numbers from 0"):
        NYUv2(root)


@pytest.mark.parametrize(
    "make", [lambda n: classes_of_40(n), lambda n: table_of_40(n, 0, 255)], ids=["names", "table"]
)
def test_there_are_40_or_13_classes(make):
    with pytest.raises(ValueError, match=r"should be 13 or 40. Found 14"):
        make(14)


def test_a_frame_lacks_the_labels_that_its_folders_lack(frames, tmp_path):
    root = shutil.copytree(frames, tmp_path / "root")
    (root / "label40/1.png").unlink()
    (root / "normals_xzy/1.png").unlink()
    (root / "normals_xzy/10.png").unlink()
    (root / "depth_x5000/10.png").unlink()
    samples = [*NYUv2Frames(root, size=(48, 64))]
    assert [set(sample) - {"image"} for sample in samples] == [
        {"segmentation", "depth", "normals"},
        {"depth", "normals"},
        {"segmentation"},
    ]
    batch = collate(samples)
    assert (batch["segmentation"][1] == 255).all()
    assert not batch["depth"][2].any()


def test_extra_frames_are_mixed_into_training_only(official, frames):
    data = NYUv2DataModule(
        official, size=(48, 64), extra_root=frames, extra_tasks=("depth",), batch_size=6
    )
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == [6, 1, 1]
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    unlabelled = (batch["segmentation"] == 255).flatten(1).all(1)
    assert unlabelled.sum() == 3
    assert batch["depth"].flatten(1).any(1).all()
    assert not batch["normals"][unlabelled].any()


def test_class_names_are_those_of_the_official_mappings(shared_data):
    meta = shared_data / "fixtures/nyuv2/meta"
    of_40 = scipy.io.loadmat(meta / "classMapping40.mat")["className"].ravel()
    of_13 = scipy.io.loadmat(meta / "class13Mapping.mat")["classMapping13"][0, 0]
    assert tuple(str(name[0]) for name in of_40) == CLASSES_40
    assert tuple(str(name[0]) for name in of_13["classNames"].ravel()) == CLASSES_13
    assert (classes_of_40(13) + 1).tolist() == of_13["labels13"].ravel().tolist()


def test_the_real_13_classes_are_the_real_40_mapped(shared_data):
    """In `NYUv2Frames`, and in `NYUv2` on a file that has the 894 labels of those 40 classes."""
    root = shared_data / "fixtures/nyuv2"
    for index, number in enumerate((433, 464)):
        wanted = np.array(Image.open(root / f"label13/new_nyu_class13_{number:04d}.png"))
        expected = torch.from_numpy(wanted).long()
        expected = torch.where(expected == 0, 255, expected - 1)
        found = NYUv2Frames(root, 13, tasks=("segmentation",))[index]["segmentation"]
        assert torch.equal(found, expected)
        assert (found != 255).double().mean() > 0.7


def test_the_real_labels_survive_the_way_through_894(shared_data, tmp_path):
    root = shared_data / "fixtures/nyuv2"
    for name in ("classMapping40.mat",):
        shutil.copy(root / "meta" / name, tmp_path)
    mapping = scipy.io.loadmat(root / "meta/classMapping40.mat")["mapClass"].ravel()
    label_of = np.array([0, *(int(np.flatnonzero(mapping == c)[-1]) + 1 for c in range(1, 41))])
    mini = root / "derived/nyu_depth_v2_labeled_mini.mat"
    with (
        h5py.File(mini) as source,
        h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "w") as file,
    ):
        for field in ("images", "depths"):
            file[field] = source[field][()]
        file["labels"] = label_of[source["labels"][()]].astype(np.uint16)
    scipy.io.savemat(tmp_path / "splits.mat", {"testNdxs": [[1], [2]]})
    dataset = NYUv2(tmp_path, "test", tasks=("segmentation", "depth"))
    pictures = NYUv2Frames(root, tasks=("segmentation", "depth"))
    assert len(dataset) == len(pictures) == 2
    for sample, expected in zip(dataset, pictures, strict=False):
        assert torch.equal(sample["segmentation"], expected["segmentation"])
        assert torch.allclose(sample["depth"], expected["depth"], atol=1e-4)
        assert torch.equal(sample["image"], expected["image"])


def test_the_real_frames_are_in_the_official_test_split(shared_data):
    splits = scipy.io.loadmat(shared_data / "fixtures/nyuv2/meta/splits.mat")
    assert splits["trainNdxs"].shape == (795, 1)
    assert {433, 464} <= set(splits["testNdxs"].ravel().tolist())


def test_the_real_normals_agree_with_those_computed_from_the_real_depth(shared_data):
    """Frame 433 has normals on file; those from its depth differ by 10.6 degrees in the median."""
    given = NYUv2Frames(shared_data / "fixtures/nyuv2", tasks=("normals", "depth"))[0]
    from_depth = NYUv2Frames(shared_data / "fixtures/nyuv2", tasks=("normals",))[1]["normals"]
    assert (from_depth[2, from_depth.any(0)] < 0.2).double().mean() > 0.99
    normals = given["normals"]
    assert torch.allclose(normals[:, normals.any(0)].norm(dim=0), torch.tensor(1.0))
    assert (normals[2, normals.any(0)] < 0).double().mean() > 0.8
    floor = normals[1, 400:, 100:500]
    assert floor.median() < -0.9
