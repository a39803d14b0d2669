import pytest
import torch

from lightning_mtl.data import CelebA, CelebADataModule, CorruptFileError
from lightning_mtl.data.datasets.celeba import ATTRIBUTES, read_attributes
from tests.support import layouts


@pytest.fixture
def root(tmp_path):
    layouts.celeba(tmp_path)
    return tmp_path


def test_40_attributes_are_one_task_or_40(root):
    together = CelebA(root)[1]
    assert torch.equal(together["attributes"], torch.eye(40)[1])
    apart = CelebA(root, tasks=ATTRIBUTES)[1]
    assert apart.keys() == {"image", *ATTRIBUTES}
    assert torch.equal(torch.cat([apart[name] for name in ATTRIBUTES]), together["attributes"])


def test_splits_are_those_of_the_partition(root):
    faces = [CelebA(root, split).names for split in ("train", "val", "test")]
    assert faces == [["000001.jpg", "000002.jpg", "000003.jpg"], ["000004.jpg"], ["000005.jpg"]]
    assert CelebA(root, "test")[0]["attributes"].argmax() == 4


def test_40_tasks_can_be_flipped_and_batched(root):
    data = CelebADataModule(root, tasks=ATTRIBUTES, augment=True, batch_size=3)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (3, 3, 64, 64)
    assert batch["Smiling"].shape == (3, 1)
    assert batch["Arched_Eyebrows"].sum() == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: ["6", *lines[1:]], "6 rows as in line 1. Found 5 rows"),
        (lambda lines: [lines[0], "Smiling", *lines[2:]], "Young in line 2. Found .'Smiling',"),
        (lambda lines: [*lines[:-1], "000005.jpg 1 0"], "40 times 1 or -1.*Found 000005.jpg 1 0"),
    ],
    ids=["number of rows", "names", "a short row"],
)
def test_a_wrong_list_of_attributes_is_named(root, change, message):
    path = root / "list_attr_celeba.txt"
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(CorruptFileError, match=rf"list_attr_celeba.txt` .*{message}"):
        CelebA(root)


def test_a_face_without_attributes_is_named(root):
    path = root / "list_attr_celeba.txt"
    path.write_text(path.read_text().replace("000002.jpg", "999999.jpg"))
    with pytest.raises(CorruptFileError, match=r"a row for 000002\.jpg"):
        CelebA(root)


def test_the_real_rows_have_the_real_names(shared_data):
    rows = read_attributes(shared_data / "fixtures/celeba/list_attr_celeba_head20.txt")
    assert len(rows) == 20
    first = {name for name, has in zip(ATTRIBUTES, rows["000001.jpg"], strict=True) if has}
    assert {"Arched_Eyebrows", "Attractive", "Brown_Hair", "Heavy_Makeup", "Young"} <= first
    assert not {"Male", "Bald", "Wearing_Hat"} & first
