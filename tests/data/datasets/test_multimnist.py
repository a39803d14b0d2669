import gzip

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_mtl.data import LabelError, MultiMNIST, MultiMNISTDataModule
from lightning_mtl.data.datasets.multimnist import compose
from tests.support import layouts


@pytest.fixture
def root(tmp_path):
    layouts.mnist(tmp_path)
    return tmp_path


def test_the_brighter_digit_counts_where_two_overlap():
    left = torch.randint(256, (28, 28), dtype=torch.uint8)
    right = torch.randint(256, (28, 28), dtype=torch.uint8)
    canvas = np.zeros((36, 36), np.uint8)
    for v in range(28):
        for u in range(28):
            canvas[v, u] = max(canvas[v, u], left[v, u])
            canvas[v + 6, u + 6] = max(canvas[v + 6, u + 6], right[v, u])
    assert np.array_equal(compose(left, right).numpy(), canvas)


def test_pictures_of_28_have_the_pixels_nearest_to_the_grid(shared_data):
    big = MultiMNIST(shared_data / "multidigit", digits="t10k")[5]["image"][0]
    small = MultiMNIST(shared_data / "multidigit", digits="t10k", size=28)[5]["image"][0]
    resized = Image.fromarray(big.numpy()).resize((28, 28), Image.Resampling.NEAREST)
    assert torch.equal(small, torch.from_numpy(np.array(resized)))


@pytest.mark.parametrize(
    ("digits", "split", "brightness"),
    [
        ("official", "train", range(50)),
        ("official", "val", range(50, 60)),
        ("official", "test", range(20)),
        ("t10k", "train", range(16)),
        ("t10k", "val", range(16, 18)),
        ("t10k", "test", range(18, 20)),
    ],
)
def test_every_digit_is_once_on_the_left_and_no_split_has_another_ones(
    root, digits, split, brightness
):
    dataset = MultiMNIST(root, split, digits)
    assert len(dataset) == len(brightness)
    left = [round(float(sample["image"][0, 0, 0]) * 255) for sample in dataset]
    right = [round(float(sample["image"][0, 33, 33]) * 255) for sample in dataset]
    assert left == list(brightness)
    assert set(right) <= set(brightness)
    assert [int(sample["left"]) for sample in dataset] == [value % 10 for value in left]
    assert [int(sample["right"]) for sample in dataset] == [value % 10 for value in right]


def test_pairs_depend_on_the_seed_and_the_index_alone(root):
    dataset = MultiMNIST(root)
    pairs = [(int(sample["left"]), int(sample["right"])) for sample in dataset]
    assert pairs[7] == (7, int(MultiMNIST(root)[7]["right"]))
    assert pairs != [(int(s["left"]), int(s["right"])) for s in MultiMNIST(root, seed=1)]
    assert len({right for _, right in pairs}) > 5


def test_more_pictures_than_digits_are_other_pairs(root):
    dataset = MultiMNIST(root, length=150)
    pairs = [(int(dataset[i]["left"]), int(dataset[i]["right"])) for i in range(150)]
    assert pairs[:50] != pairs[50:100]
    with pytest.raises(IndexError, match=r"\[0, 150\). Found 150"):
        dataset[150]
    with pytest.raises(ValueError, match=r"`length` should be positive. Found 0"):
        MultiMNIST(root, length=0)


def test_there_are_two_sizes(root):
    with pytest.raises(ValueError, match=r"should be 28 or 36. Found 32"):
        MultiMNIST(root, size=32)


def test_a_label_that_is_no_digit_is_named(root):
    path = root / "MNIST/raw/t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1] + bytes([11]), mtime=0))
    with pytest.raises(LabelError, match=r"t10k-labels.*0 to 9. Found \[11\]"):
        MultiMNIST(root, digits="t10k")


def test_only_the_training_set_has_a_length(root):
    data = MultiMNISTDataModule(root, length=100, size=28, batch_size=4)
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == [100, 10, 20]
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 3, 28, 28)
    assert batch["left"].shape == batch["right"].shape == (4,)


def test_the_real_digits_fill_their_corners(shared_data):
    dataset = MultiMNIST(shared_data / "multidigit", digits="t10k")
    assert len(dataset) == 8000
    assert int(dataset[0]["left"]) == 7  # the first digit of the file
    images = torch.stack([dataset[i]["image"][0] for i in range(200)])
    assert not images[:, 34:].any()
    assert not images[:, :, 34:].any()
    assert images[:, 4:24, 4:24].mean() > 0.2
    assert images[:, 10:30, 10:30].mean() > 0.2
