"""What all formats share: shapes and types, where data is sought, and who reads it."""

import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_mtl.data import (
    DatasetNotFoundError,
    NYUv2,
    collate,
)
from tests.support.formats import FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_samples_have_the_shapes_and_types_of_their_entries(written, name):
    form = FORMATS[name]
    sample = form.make(written[name])[0]
    assert {key: (tuple(value.shape), value.dtype) for key, value in sample.items()} == form.entries
    assert 0 <= sample["image"].amin() <= sample["image"].amax() <= 1


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"nyuv2_frames"}))
def test_one_split_does_not_see_the_other(written, name):
    sizes = [len(FORMATS[name].make(written[name], split=s)) for s in ("train", "val", "test")]
    assert sizes == ([16, 2, 2] if name == "multimnist" else [3, 1, 1])


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"nyuv2_frames"}))
def test_a_mistyped_split_is_an_error_and_not_the_test_data(written, name):
    with pytest.raises(ValueError, match=r'split=\)` .* "train", "val", "test"\. Found .valid.'):
        FORMATS[name].make(written[name], split="valid")


@pytest.mark.parametrize("name", FORMATS)
def test_worker_processes_read_the_same_samples(written, name):
    dataset = FORMATS[name].make(written[name])
    again = pickle.loads(pickle.dumps(dataset))
    assert all(torch.equal(value, again[1][key]) for key, value in dataset[1].items())


def test_frames_of_an_open_file_can_be_read_by_workers(written):
    """HDF5 handles do not survive the way to another process, so none is kept."""
    dataset = NYUv2(written["nyuv2"], size=(24, 32), tasks=("depth",))
    loader = DataLoader(dataset, 2, num_workers=2, collate_fn=collate)
    depth = torch.cat([batch["depth"] for batch in loader])
    assert torch.equal(depth, torch.stack([dataset[i]["depth"] for i in range(3)]))


@pytest.mark.parametrize("name", FORMATS)
def test_the_root_may_come_from_the_environment(written, name, monkeypatch):
    monkeypatch.setenv(FORMATS[name].variable, str(written[name]))
    assert len(FORMATS[name].make(None)) >= 3


@pytest.mark.parametrize("name", FORMATS)
def test_without_a_root_the_error_says_what_to_do(name, monkeypatch):
    form = FORMATS[name]
    monkeypatch.delenv(form.variable, raising=False)
    with pytest.raises(DatasetNotFoundError) as error:
        form.make(None)
    assert f"`${form.variable}` should exist" in str(error.value)
    assert "The variable is not set." in str(error.value)
    assert f"set the environment variable {form.variable}" in str(error.value)
    assert "Expected layout:\nroot/" in str(error.value)
