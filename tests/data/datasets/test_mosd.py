import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lightning_mtl.data.augmentation.transforms import RandomHorizontalFlip
from lightning_mtl.data.datasets.mosd import MOSD, SOURCE, MOSDDataModule, boundaries
from lightning_mtl.data.reading.errors import CorruptFileError, DatasetNotFoundError, LabelError

NORMAL = torch.tensor([0.0, -0.8, -0.6])


@pytest.fixture
def broken_frames(mosd_frames, tmp_path):
    """A copy to damage."""
    return shutil.copytree(mosd_frames, tmp_path / "frames")


def test_a_sample_has_an_image_and_the_tasks_asked_for(mosd_frames):
    sample = MOSD(mosd_frames, "test", size=(60, 80), tasks=MOSD.TASKS, cache=False)[1]
    shapes = {name: (tuple(value.shape), value.dtype) for name, value in sample.items()}
    assert shapes == {
        "image": ((3, 60, 80), torch.float32),
        "segmentation": ((60, 80), torch.int64),
        "depth": ((1, 60, 80), torch.float32),
        "normals": ((3, 60, 80), torch.float32),
        "edges": ((60, 80), torch.float32),
    }
    assert torch.allclose(sample["image"], torch.full((3, 60, 80), 20 / 255), atol=0.01)
    assert MOSD(mosd_frames, "test", tasks=("depth",))[0].keys() == {"image", "depth"}


def test_labels_become_table_object_and_ignore(mosd_frames):
    dataset = MOSD(mosd_frames, "test", size=(48, 64), tasks=("segmentation",))
    segmentation = dataset[0]["segmentation"]
    expected = torch.zeros(48, 64, dtype=torch.long)
    expected[10:30, 10:30] = 1
    expected[:8] = 255
    assert torch.equal(segmentation, expected)


def test_depth_is_in_metres_and_zero_where_invalid(mosd_frames):
    depth = MOSD(mosd_frames, "test", size=(480, 640), tasks=("depth",))[0]["depth"]
    v = (torch.arange(480) - 239.5) / 525
    expected = (1 / (0.8 * v + 0.6))[:, None].expand(480, 640)
    assert not depth[0, :80].any()
    assert (depth[0] - expected)[80:].abs().max() < 0.0006


def test_normals_come_from_the_depth_at_full_resolution(mosd_frames):
    normals = MOSD(mosd_frames, "test", size=(48, 64), cache=False)[0]["normals"]
    assert not normals[:, :8].any()
    assert torch.allclose(normals[:, 8:], NORMAL[:, None, None].expand(3, 40, 64), atol=0.03)


def test_edges_separate_objects_but_not_the_parts_of_the_table(mosd_frames):
    edges = MOSD(mosd_frames, "test", size=(48, 64), tasks=("edges",))[0]["edges"]
    expected = torch.zeros(48, 64)
    expected[9:30, 10:30] = 1
    expected[10:30, 9] = 1
    expected[10:29, 10:19] = 0
    expected[10:29, 20:29] = 0
    expected[:8] = 255
    assert torch.equal(edges, expected)


def test_boundaries_agree_with_a_comparison_pixel_by_pixel():
    instances = torch.randint(3, (12, 15))
    instances[torch.rand(12, 15) < 0.2] = 255
    assert torch.equal(boundaries(instances), literal_boundaries(instances))


def literal_boundaries(instances: Tensor) -> Tensor:
    edges = torch.zeros(instances.shape)
    height, width = instances.shape
    for v in range(height):
        for u in range(width):
            here = instances[v, u]
            places = [(v, u + 1)] * (u + 1 < width) + [(v + 1, u)] * (v + 1 < height)
            others = [instances[place] for place in places]
            if here != 255 and any(other not in (255, here) for other in others):
                edges[v, u] = 1
            elif 255 in (here, *others):
                edges[v, u] = 255
    return edges


def test_held_out_frames_are_taken_from_training(mosd_frames):
    whole = MOSD(mosd_frames, "train", cache=False).names
    train = MOSD(mosd_frames, "train", val_fraction=0.2, cache=False).names
    val = MOSD(mosd_frames, "val", val_fraction=0.2, cache=False).names
    assert val == ["train2", "train7"]
    assert sorted(train + val) == sorted(whole)
    assert MOSD(mosd_frames, "test", val_fraction=0.2, cache=False).names == [
        "test0",
        "test1",
        "test2",
    ]


def test_without_a_fraction_validation_runs_on_the_test_frames(mosd_frames):
    assert MOSD(mosd_frames, "val", cache=False).names == ["test0", "test1", "test2"]


@pytest.mark.parametrize("fraction", [-0.1, 1.0])
def test_the_held_out_fraction_leaves_something_to_train_on(mosd_frames, fraction):
    with pytest.raises(ValueError, match=r"`val_fraction` should lie in \[0, 1\). Found"):
        MOSD(mosd_frames, val_fraction=fraction)


def test_cached_frames_are_read_once_and_equal_those_read_each_time(broken_frames):
    (broken_frames / "test.txt").write_text("test0\ntest2")
    cached = MOSD(broken_frames, "test")
    read = [MOSD(broken_frames, "test", cache=False)[i] for i in range(2)]
    shutil.rmtree(broken_frames / "rgb")
    for i in range(2):
        assert all(torch.equal(value, read[i][name]) for name, value in cached[i].items())


def test_the_transform_leaves_the_cache_alone(mosd_frames):
    flip = RandomHorizontalFlip(1.0)
    dataset = MOSD(mosd_frames, "test", tasks=("depth",), transform=flip)
    first, second = dataset[0], dataset[0]
    plain = MOSD(mosd_frames, "test", tasks=("depth",))[0]
    assert torch.equal(first["depth"], plain["depth"].flip(-1))
    assert torch.equal(first["depth"], second["depth"])


def test_iteration_ends(mosd_frames):
    dataset = MOSD(mosd_frames, "test", tasks=("depth",))
    assert len(dataset) == len(list(dataset)) == 3


def test_a_missing_root_says_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(DatasetNotFoundError) as error:
        MOSD(tmp_path / "nowhere")
    for part in ("nowhere", "should exist", "root/depth_mm/<name>.png", SOURCE.variable):
        assert part in str(error.value)
    monkeypatch.delenv(SOURCE.variable, raising=False)
    with pytest.raises(DatasetNotFoundError, match=SOURCE.variable):
        MOSD()


@pytest.mark.parametrize("file", ["test.txt", "intrinsics.txt", "label/test2.png"])
def test_a_missing_file_is_named(broken_frames, file):
    (broken_frames / file).unlink()
    with pytest.raises(DatasetNotFoundError, match=file):
        MOSD(broken_frames, "test", cache=False)


@pytest.mark.parametrize("file", ["rgb/test1.jpg", "depth_mm/test1.png", "label/test1.png"])
def test_a_truncated_image_is_named(broken_frames, file):
    whole = (broken_frames / file).read_bytes()
    (broken_frames / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        CorruptFileError, match=rf"{file}` should hold .*\(480, 640.*Found .* corrupt"
    ):
        MOSD(broken_frames, "test")


def test_an_image_of_another_size_or_depth_is_named(broken_frames):
    small = Image.fromarray(np.zeros((48, 64), np.uint8))
    small.save(broken_frames / "label/test0.png")
    with pytest.raises(CorruptFileError, match=r"label/test0.*Found \(48, 64\)"):
        MOSD(broken_frames, "test", cache=False)[0]
    Image.fromarray(np.zeros((480, 640), np.uint8)).save(broken_frames / "depth_mm/test1.png")
    with pytest.raises(CorruptFileError, match=r"depth_mm/test1.*uint16.*Found .* uint8"):
        MOSD(broken_frames, "test", cache=False)[1]


def test_a_camera_matrix_that_is_none_is_named(broken_frames):
    (broken_frames / "intrinsics.txt").write_text("525 0 319.5")
    with pytest.raises(CorruptFileError, match=r"camera matrix `.*intrinsics.txt.*9 numbers"):
        MOSD(broken_frames, "test", cache=False)


def test_a_label_without_a_meaning_is_named(broken_frames):
    label = np.ones((480, 640), np.uint8)
    label[0, :3] = 19, 20, 30
    Image.fromarray(label).save(broken_frames / "label/test0.png")
    with pytest.raises(LabelError, match=r"label/test0.png.*1 to 9 \(table\).*Found \[19\]"):
        MOSD(broken_frames, "test")


def test_an_unknown_task_is_named(mosd_frames):
    with pytest.raises(ValueError, match=r"should be among .*'normals'.*Found \['flow'\]"):
        MOSD(mosd_frames, tasks=("depth", "flow"))


@pytest.mark.parametrize(
    "error",
    [
        DatasetNotFoundError("a", "b", "c"),
        CorruptFileError("a", "image", "b", "c"),
        LabelError("a", "b", [1]),
    ],
)
def test_errors_survive_the_way_between_processes(error):
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_mosd_is_augmented_in_training_only(mosd_frames):
    data = MOSDDataModule(mosd_frames, size=(24, 32), tasks=("depth",), batch_size=3)
    train, val = data.dataset("train"), data.dataset("val")
    assert not torch.equal(train[3]["image"], train[3]["image"])
    assert torch.equal(val[1]["image"], val[1]["image"])
    plain = MOSDDataModule(mosd_frames, (24, 32), tasks=("depth",), augment=False).dataset("train")
    assert torch.equal(plain[3]["image"], plain[3]["image"])


def test_mosd_passes_on_what_it_is_given(mosd_frames):
    data = MOSDDataModule(mosd_frames, size=(24, 32), cache=False)
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == [10, 3, 3]
    assert data.dataset("val")[0]["normals"].shape == (3, 24, 32)
    held_out = MOSDDataModule(mosd_frames, size=(24, 32), val_fraction=0.2, cache=False)
    held_out.setup("fit")
    assert held_out.val_dataloader().dataset.names == ["train2", "train7"]
    assert len(held_out.train_dataloader().dataset) == 8
    assert data.CLASSES == MOSD.CLASSES == ("table", "object")


@pytest.mark.parametrize(("split", "frames"), [("train", 45), ("test", 62)])
def test_the_real_frames_have_the_official_split_and_known_labels(shared_data, split, frames):
    dataset = MOSD(shared_data / "mosd", split, tasks=("segmentation", "depth"), cache=False)
    assert len(dataset) == frames
    for index in range(0, frames, 5):
        sample = dataset[index]
        valid = sample["segmentation"] != 255
        assert set(sample["segmentation"].unique().tolist()) <= {0, 1, 255}
        assert torch.equal(valid, sample["depth"][0] > 0)
        assert sample["depth"].max() < 1.8
        assert sample["depth"][sample["depth"] > 0].min() > 0.4
        assert 0 <= sample["image"].amin() < sample["image"].amax() <= 1


def test_the_real_tables_are_smooth_and_face_up(shared_data):
    dataset = MOSD(shared_data / "mosd", "train", cache=False)
    for index in (0, 20, 40):
        sample = dataset[index]
        table = (sample["segmentation"] == 0) & sample["normals"].any(0)
        normals = sample["normals"][:, table]
        mean = normals.mean(1) / normals.mean(1).norm()
        assert mean[0].abs() < 0.1
        assert mean[1] < -0.6
        assert mean[2] < -0.4
        assert torch.rad2deg(torch.acos((mean @ normals).clamp(-1, 1))).median() < 5


@pytest.mark.slow
def test_the_real_test_frames_have_the_known_trivial_baselines(shared_data):
    """Golden: always "table" has mIoU .389, the mean training normal an error of 16.5 degrees."""
    train, test = (MOSD(shared_data / "mosd", split) for split in ("train", "test"))
    labels = torch.stack([test[i]["segmentation"] for i in range(len(test))])
    table = (labels == 0).sum() / (labels != 255).sum()
    assert (table / 2).item() == pytest.approx(0.389, abs=0.001)
    seen, wanted = (
        torch.cat([dataset[i]["normals"].flatten(1) for i in range(len(dataset))], dim=1)
        for dataset in (train, test)
    )
    mean = seen.sum(1) / seen.sum(1).norm()
    errors = torch.rad2deg(torch.acos((mean @ wanted[:, wanted.any(0)]).clamp(-1, 1)))
    assert errors.mean().item() == pytest.approx(16.5, abs=0.3)
