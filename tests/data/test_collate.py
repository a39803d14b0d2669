import pytest
import torch

from lightning_mtl.data import SyntheticRooms
from lightning_mtl.data.augmentation.modalities import MODALITIES, Labels
from lightning_mtl.data.collate import collate

IMAGE = torch.rand(3, 4, 5)


def test_complete_samples_are_stacked():
    samples = [{"image": torch.rand(3, 4, 5), "depth": torch.rand(1, 4, 5)} for _ in range(3)]
    batch = collate(samples)
    assert list(batch) == ["image", "depth"]
    for name, values in batch.items():
        assert torch.equal(values, torch.stack([sample[name] for sample in samples]))


@pytest.mark.parametrize(
    ("name", "label", "invalid"),
    [
        ("segmentation", torch.ones(4, 5, dtype=torch.long), 255),
        ("human_parts", torch.ones(4, 5, dtype=torch.long), 255),
        ("edges", torch.ones(4, 5), 255),
        ("saliency", torch.ones(4, 5), 255),
        ("depth", torch.ones(1, 4, 5), 0),
        ("disparity", torch.ones(1, 4, 5), 0),
        ("normals", torch.ones(3, 4, 5), 0),
    ],
)
def test_a_missing_label_is_filled_with_its_invalid_value(name, label, invalid):
    batch = collate([{"image": IMAGE}, {"image": IMAGE, name: label}, {"image": IMAGE}])
    assert batch[name].dtype == label.dtype
    assert torch.equal(batch[name][1], label)
    assert (batch[name][[0, 2]] == invalid).all()


def test_a_label_that_no_sample_has_is_not_in_the_batch():
    assert list(collate([{"image": IMAGE}, {"image": IMAGE}])) == ["image"]


def test_an_entry_without_a_declared_modality_is_stacked():
    batch = collate([{"image": IMAGE, "pose": torch.eye(4)}] * 2)
    assert batch["pose"].shape == (2, 4, 4)


@pytest.mark.parametrize("name", ["image", "keypoints", "attributes", "intrinsics", "pose"])
def test_an_entry_without_an_invalid_value_cannot_be_missing(name):
    assert name not in MODALITIES or MODALITIES[name].invalid is None
    present = {"depth": torch.ones(1, 4, 5), name: torch.rand(3)}
    match = f"`{name}` should be in all 3 samples.*no invalid value.*Found it in 2"
    with pytest.raises(ValueError, match=match):
        collate([present, present, {"depth": torch.ones(1, 4, 5)}])


def test_an_entry_of_ones_own_is_described_by_ones_own_modalities():
    known = {**MODALITIES, "roughness": Labels(invalid=-1), "strokes": Labels(stacked=False)}
    labelled = {"image": IMAGE, "roughness": torch.ones(4, 5), "strokes": torch.ones(2, 4, 5)}
    batch = collate([{"image": IMAGE}, labelled], known)
    assert (batch["roughness"][0] == -1).all()
    assert [tuple(value.shape) for value in batch["strokes"]] == [(0, 4, 5), (2, 4, 5)]
    blind = {"image": IMAGE, "roughness": torch.full((4, 5), -1.0)}
    assert "roughness" not in collate([blind], known)


@pytest.mark.parametrize("other", [torch.ones(1, 4, 6), torch.ones(1, 4, 5, dtype=torch.half)])
def test_shapes_and_dtypes_must_agree(other):
    match = r"`depth` should be torch.float32 \(1, 4, 5\) in all samples.*Found torch"
    with pytest.raises(ValueError, match=match):
        collate([{"depth": torch.ones(1, 4, 5)}, {"image": IMAGE}, {"depth": other}])


def test_an_entry_that_is_invalid_everywhere_is_absent() -> None:
    frame = SyntheticRooms(1, size=(32, 40))[0]
    blind = frame | {"depth": torch.zeros_like(frame["depth"])}
    assert "depth" not in collate([blind, blind])
    assert "depth" in collate([blind, frame])
    unlabelled = frame | {"segmentation": torch.full_like(frame["segmentation"], 255)}
    assert set(collate([unlabelled])) == {"image", "depth", "normals"}
