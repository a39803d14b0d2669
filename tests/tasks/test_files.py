"""Files of predictions: what was predicted is read back from them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lightning_mtl.tasks import (
    Attributes,
    Classification,
    Depth,
    Disparity,
    Edges,
    HumanParts,
    Keypoints,
    Normals,
    Regression,
    Saliency,
    Segmentation,
    Task,
)
from lightning_mtl.tasks.colors import class_colors
from lightning_mtl.vectors import unit

H, W = 5, 7


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.array(image)


def text(file: Path) -> dict[str, str]:
    with Image.open(file) as image:
        return image.text


def facts(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


@pytest.mark.parametrize("kind", [Segmentation, HumanParts])
def test_a_segmentation_is_its_classes_in_their_colours_with_their_names(kind, tmp_path):
    names = ["Wand", "Boden", "Tür", "床", "e"]
    logits = torch.randn(5, H, W)
    task = kind(5, class_names=names)
    file = task.write(logits, tmp_path / "image")
    assert file == tmp_path / "image.png"
    assert (pixels(file) == logits.argmax(0).numpy()).all()
    assert json.loads(text(file)["classes"]) == names
    with Image.open(file) as image:
        assert image.mode == "P"
        drawn = torch.from_numpy(np.array(image.convert("RGB"))).movedim(-1, 0) / 255
    torch.testing.assert_close(drawn, task.draw(logits[None])[0], atol=0.002, rtol=0)


def test_more_classes_than_a_palette_holds_make_a_file_of_sixteen_bits(tmp_path):
    logits = torch.zeros(300, 1, 2)
    logits[299, 0, 1] = 1
    file = Segmentation(300, ignore_index=-1).write(logits, tmp_path / "image")
    assert pixels(file).tolist() == [[0, 299]]
    assert pixels(file).dtype == np.uint16
    assert "classes" not in text(file)


def test_all_colours_of_256_classes_fit_the_palette(tmp_path):
    logits = torch.zeros(256, 1, 1)
    logits[255] = 1
    file = Segmentation(256, ignore_index=-1).write(logits, tmp_path / "image")
    with Image.open(file) as image:
        expected = (class_colors(256)[255] * 255).round().tolist()
        assert list(image.convert("RGB").getpixel((0, 0))) == expected


@pytest.mark.parametrize(
    ("largest", "scale"),
    [(9.0, 0.001), (65.535, 0.001), (66.0, 0.01), (655.35, 0.01), (700.0, 0.1), (1e7, 1000.0)],
)
def test_depth_is_in_millimetres_or_as_fine_as_fits(largest, scale, tmp_path):
    depth = torch.rand(1, H, W) * largest
    depth[0, 0, 0] = largest
    file = Depth().write(depth, tmp_path / "image")
    assert text(file) == {"unit": "metre", "scale": f"{scale:g}"}
    assert pixels(file).dtype == np.uint16
    found = torch.from_numpy(pixels(file).astype(np.float64) * float(text(file)["scale"]))
    torch.testing.assert_close(found, depth[0].double(), atol=scale * 0.501, rtol=0)


def test_what_is_no_depth_is_zero(tmp_path):
    depth = torch.tensor([[-3.0, float("nan"), -float("inf"), 2.0, float("inf")]])
    file = Depth().write(depth[None], tmp_path / "image")
    assert pixels(file).tolist() == [[0, 0, 0, 2000, 65535]]
    empty = Depth().write(torch.zeros(1, 2, 2), tmp_path / "empty")
    assert not pixels(empty).any()


@pytest.mark.parametrize("largest", [0.004, 0.4, 126.0, 70000.0])
def test_disparity_is_as_fine_as_fits_whatever_its_unit(largest, tmp_path):
    values = torch.rand(1, H, W) * largest
    values[0, 0, 0] = largest
    file = Disparity().write(values, tmp_path / "image")
    assert set(text(file)) == {"scale"}
    assert 6000 < pixels(file).max() <= 65535
    found = torch.from_numpy(pixels(file) * float(text(file)["scale"])).float()
    torch.testing.assert_close(found, values[0], atol=largest * 1e-4, rtol=0)


def test_normals_are_colours_of_their_own_axes(tmp_path):
    prediction = torch.randn(3, H, W) * 4
    prediction[:, 0, 0], prediction[:, 0, 1] = 0, torch.nan
    file = Normals().write(prediction, tmp_path / "image")
    assert text(file)["axes"] == "x right, y down, z forward"
    found = torch.from_numpy(pixels(file).astype(np.float32)).movedim(-1, 0) / 255 * 2 - 1
    expected = unit(prediction[None])[0].nan_to_num(0)
    torch.testing.assert_close(found, expected, atol=1.01 / 255, rtol=0)


@pytest.mark.parametrize("task", [Edges(), Saliency()], ids=["edges", "saliency"])
def test_binary_maps_are_grey_probabilities(task, tmp_path):
    logits = torch.tensor([[[-30.0, 0.0, 30.0, float("nan")]]])
    assert pixels(task.write(logits, tmp_path / "image")).tolist() == [[0, 128, 255, 0]]


@pytest.mark.parametrize("decode", ["argmax", "soft_argmax"])
def test_keypoints_are_where_their_metric_finds_them(decode, tmp_path):
    heatmaps = torch.zeros(3, H, W)
    heatmaps[0, 2, 6], heatmaps[1, 4, 0], heatmaps[2] = 0.9, 0.5, torch.nan
    written = facts(Keypoints(3, decode=decode).write(heatmaps, tmp_path / "image"))["keypoints"]
    assert written[0] == pytest.approx({"x": 6, "y": 2, "score": 0.9}, abs=1e-5)
    assert written[1] == pytest.approx({"x": 0, "y": 4, "score": 0.5}, abs=1e-5)
    assert written[2] == {"x": None, "y": None, "score": None}


@pytest.mark.parametrize("shape", [(), (2, 2)], ids=["vector", "map"])
def test_facts_about_images_are_words_and_numbers(shape, tmp_path):
    logits = torch.tensor([0.0, 2.0])
    logits = logits.view(2, *[1] * len(shape)).expand(2, *shape)
    named = Classification(2, "pet", class_names=["cat", "dog"]).write(logits, tmp_path / "a")
    assert named == tmp_path / "a.json"
    assert facts(named) == {"class": 1, "name": "dog", "probability": pytest.approx(0.880797)}
    plain = facts(Classification(2, "pet").write(logits, tmp_path / "b"))
    assert plain == {"class": 1, "probability": pytest.approx(0.880797)}
    attributes = Attributes(2, class_names=["old", "happy"]).write(logits, tmp_path / "c")
    assert facts(attributes) == {
        "attributes": [
            {"name": "old", "probability": 0.5},
            {"name": "happy", "probability": pytest.approx(0.880797)},
        ]
    }
    numbers = Regression("age", 2).write(logits - 0.3, tmp_path / "d")
    assert facts(numbers) == {"values": [-0.3, 1.7]}


def test_numbers_that_json_does_not_know_are_null(tmp_path):
    values = torch.tensor([float("nan"), float("inf"), 1.0])
    assert facts(Regression("age", 3).write(values, tmp_path / "a")) == {"values": [None, None, 1]}


def test_dots_in_a_name_are_part_of_it(tmp_path):
    file = Depth().write(torch.ones(1, 2, 2), tmp_path / "frame.0001")
    assert file.name == "frame.0001.png"
    assert Regression("age").write(torch.ones(1), tmp_path / "v1.5").name == "v1.5.json"


class Own(Depth):
    """A user's task that says nothing of files."""

    write = Task.write


def test_by_default_a_task_writes_its_picture(tmp_path):
    prediction: Tensor = torch.rand(1, H, W) + 1
    task = Own()
    file = task.write(prediction, tmp_path / "image")
    found = torch.from_numpy(pixels(file)).movedim(-1, 0) / 255
    torch.testing.assert_close(found, task.draw(prediction[None])[0], atol=0.002, rtol=0)
