"""`SyntheticRooms` as a data set, and its data module."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lightning_mtl.data.rooms.rendering import render
from lightning_mtl.data.rooms.synthetic_rooms import RoomsDataModule, SyntheticRooms

SIZE = (24, 32)


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=0)


def test_a_frame_depends_on_its_index_alone():
    forwards = SyntheticRooms(6, SIZE, tasks=SyntheticRooms.TASKS)
    backwards = SyntheticRooms(100, SIZE, tasks=SyntheticRooms.TASKS)
    frames = {index: backwards[index] for index in reversed(range(6))}
    for index in range(6):
        assert_same(forwards[index], frames[index])


def test_the_global_generators_are_neither_read_nor_moved():
    rooms = SyntheticRooms(2, SIZE)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    legacy = np.random.get_state()[1].copy()
    first = rooms[0]
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == legacy).all()
    torch.manual_seed(2)
    assert_same(first, rooms[0])


@pytest.mark.parametrize("other", [{"seed": 1}, {"index": 1}])
def test_other_seeds_and_other_indices_give_other_rooms(other):
    first = SyntheticRooms(2, SIZE)[0]
    second = SyntheticRooms(2, SIZE, seed=other.get("seed", 0))[other.get("index", 0)]
    for name, value in first.items():
        assert (value != second[name]).float().mean() > 0.1


def test_seed_and_index_are_not_interchangeable():
    first, second = SyntheticRooms(2, SIZE, seed=1)[0], SyntheticRooms(2, SIZE, seed=0)[1]
    assert not torch.equal(first["depth"], second["depth"])


def test_workers_give_the_same_frames_as_the_main_process():
    rooms = SyntheticRooms(8, SIZE)
    here, there = (list(DataLoader(rooms, batch_size=2, num_workers=workers)) for workers in (0, 2))
    for first, second in zip(here, there, strict=True):
        assert_same(first, second)


def test_a_sample_has_the_agreed_types_and_shapes():
    sample = SyntheticRooms(1, SIZE, tasks=SyntheticRooms.TASKS)[0]
    assert {name: (value.dtype, tuple(value.shape)) for name, value in sample.items()} == {
        "image": (torch.float32, (3, 24, 32)),
        "segmentation": (torch.int64, (24, 32)),
        "depth": (torch.float32, (1, 24, 32)),
        "normals": (torch.float32, (3, 24, 32)),
        "edges": (torch.float32, (24, 32)),
        "keypoints": (torch.float32, (4, 24, 32)),
    }


def test_labels_keep_to_their_ranges():
    for sample in SyntheticRooms(20, SIZE, tasks=SyntheticRooms.TASKS):
        assert 0 <= sample["image"].min() <= sample["image"].max() <= 1
        assert sample["segmentation"].min() >= 0
        assert sample["segmentation"].max() < len(SyntheticRooms.CLASSES)
        assert 0.2 < sample["depth"].min() < sample["depth"].max() < 12
        assert set(sample["edges"].unique().tolist()) == {0, 1}
        assert 0 <= sample["keypoints"].min() <= sample["keypoints"].max() <= 1


def test_every_frame_shows_an_object():
    for sample in SyntheticRooms(60, SIZE, num_objects=(1, 2), tasks=("segmentation",)):
        assert (sample["segmentation"] >= SyntheticRooms.CLASSES.index("box")).any()


def test_a_sample_holds_the_tasks_asked_for_and_no_more():
    assert SyntheticRooms(1, SIZE, tasks=("depth",))[0].keys() == {"image", "depth"}
    assert SyntheticRooms(1, SIZE, tasks=())[0].keys() == {"image"}


def test_one_task_does_not_change_another():
    alone = SyntheticRooms(1, SIZE, tasks=("depth",))[0]
    among = SyntheticRooms(1, SIZE, tasks=SyntheticRooms.TASKS)[0]
    assert_same(alone, {name: among[name] for name in alone})


def test_the_scene_and_the_camera_render_the_frame_again():
    rooms = SyntheticRooms(3, SIZE, noise=0)
    again = render(rooms.scene(2), rooms.camera(2), SIZE, ("image", *rooms.tasks))
    assert_same(rooms[2], {name: torch.from_numpy(value) for name, value in again.items()})


def test_noise_has_the_given_deviation_and_touches_only_the_image():
    clean, noisy = (SyntheticRooms(1, (96, 128), noise=noise)[0] for noise in (0.0, 0.02))
    inner = (clean["image"] > 0.1) & (clean["image"] < 0.9)
    residual = (noisy.pop("image") - clean.pop("image"))[inner]
    assert residual.mean().abs() < 1e-3
    assert residual.std().item() == pytest.approx(0.02, rel=0.03)
    assert_same(clean, noisy)


def test_iterating_ends_after_the_last_frame():
    assert len(list(SyntheticRooms(3, SIZE))) == len(SyntheticRooms(3, SIZE)) == 3


@pytest.mark.parametrize("index", [-1, 3, 100])
def test_an_index_out_of_range_is_refused(index):
    with pytest.raises(IndexError, match=f"`index` should be from 0 to 2. Found {index}"):
        SyntheticRooms(3, SIZE)[index]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0}, r"`SyntheticRooms\(length=\)` should be at least 1. Found 0"),
        ({"size": (0, 4)}, "`size` .* two positive numbers. Found"),
        ({"seed": -1}, r"seed=\)` should be at least 0. Found -1"),
        ({"num_objects": (0, 4)}, "`num_objects` .* 1 <= low <= high. Found"),
        ({"num_objects": (5, 4)}, "`num_objects` .* 1 <= low <= high. Found"),
        ({"noise": -0.1}, r"noise=\)` should be at least 0. Found -0.1"),
        ({"tasks": ("depth", "albedo")}, "among .*'segmentation'.* Found .'albedo'."),
        ({"tasks": ("image",)}, "Found .'image'."),
    ],
    ids=[
        "no room",
        "no height",
        "negative seed",
        "no object",
        "objects out of order",
        "negative noise",
        "unknown task",
        "the image as a task",
    ],
)
def test_arguments_out_of_range_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        SyntheticRooms(**{"length": 1, **arguments})


def test_rooms_of_a_mistyped_split_are_an_error():
    with pytest.raises(ValueError, match=r"split=\)` .* one of .*Found 'valid'"):
        RoomsDataModule().dataset("valid")


def test_no_two_splits_or_seeds_share_rooms():
    seeds = [
        RoomsDataModule(size=(8, 8), seed=seed).dataset(split).seed
        for seed in range(5)
        for split in ("train", "val", "test")
    ]
    assert len(set(seeds)) == 15


def test_rooms_have_the_lengths_tasks_and_size_asked_for():
    data = RoomsDataModule((16, 24), 6, 3, 2, tasks=("depth", "edges"), batch_size=2)
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == [6, 3, 2]
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    shapes = {name: tuple(value.shape) for name, value in batch.items()}
    assert shapes == {"image": (2, 3, 16, 24), "depth": (2, 1, 16, 24), "edges": (2, 16, 24)}


def test_rooms_are_the_same_with_and_without_workers():
    batches = []
    for workers in (0, 2):
        data = RoomsDataModule((16, 24), val_length=4, batch_size=2, num_workers=workers)
        data.setup("validate")
        batches.append(list(data.val_dataloader()))
    for one, other in zip(*batches, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
