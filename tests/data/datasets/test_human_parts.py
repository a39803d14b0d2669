import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from lightning_mtl.data import CorruptFileError
from lightning_mtl.data.datasets.human_parts import PARTS, read_human_parts
from tests.support import layouts


def saved(folder, annotation) -> str:
    path = folder / "1.mat"
    scipy.io.savemat(path, {"anno": annotation})
    return path


def test_24_parts_become_6_and_the_last_one_counts(tmp_path):
    path = saved(tmp_path, layouts.annotation(person=True))
    expected = torch.zeros(40, 60, dtype=torch.long)
    expected[10:20] = PARTS.index("head")
    expected[15:25] = PARTS.index("lower leg")
    assert torch.equal(read_human_parts(path, (40, 60)), expected)


def test_parts_of_animals_do_not_count(tmp_path):
    assert read_human_parts(saved(tmp_path, layouts.annotation(person=False)), (40, 60)) is None


def test_masks_of_another_size_are_an_error(tmp_path):
    path = saved(tmp_path, layouts.annotation(person=True))
    with pytest.raises(CorruptFileError, match=r"`anno` of .*1.mat.*\(41, 60\).*mask \(40, 60\)"):
        read_human_parts(path, (41, 60))


def test_an_unknown_part_is_an_error(tmp_path):
    annotation = layouts.annotation(person=True)
    annotation["objects"][0, 0]["parts"][0, 0]["part_name"] = "wing"
    with pytest.raises(CorruptFileError, match=r"`anno` of .*1.mat.*parts among .*'wing'"):
        read_human_parts(saved(tmp_path, annotation), (40, 60))


def test_an_annotation_without_objects_is_an_error(tmp_path):
    with pytest.raises(CorruptFileError, match=r"`anno` of .*1.mat.*Found"):
        read_human_parts(saved(tmp_path, {"imname": "1"}), (40, 60))


def test_the_real_people_have_their_heads_above_their_legs(shared_data):
    """19 people in 8 of 18 real images, each with a head or a torso."""
    found = {}
    for path in sorted((shared_data / "fixtures/pascal_part").glob("*.mat")):
        with Image.open(path.with_suffix(".jpg")) as image:
            size = (image.height, image.width)
        parts = read_human_parts(path, size)
        if parts is not None:
            assert set(parts.unique().tolist()) <= set(range(7))
            found[path.stem] = parts
    assert len(found) == 8
    climber = found["2008_000700"]
    rows = [float((climber == part).nonzero()[:, 0].double().mean()) for part in (1, 2, 5, 6)]
    assert np.all(np.diff(rows) > 0)


def test_the_real_annotation_is_read_as_its_masks_say(shared_data):
    """A twin that goes through the file by hand."""
    path = shared_data / "fixtures/pascal_part/2008_000700.mat"
    person = scipy.io.loadmat(path)["anno"][0, 0]["objects"][0, 0]
    masks = {str(part["part_name"][0]): part["mask"] for part in person["parts"][0]}
    head = np.zeros((375, 500), bool)
    for name in ("head", "hair", "nose", "mouth", "lear", "rear", "leye", "reye"):
        head |= masks.get(name, head) > 0
    parts = read_human_parts(path, (375, 500))
    assert ((parts == 1).numpy() & ~head).sum() < 30
    assert (head & (parts != 1).numpy()).sum() < 0.2 * head.sum()
