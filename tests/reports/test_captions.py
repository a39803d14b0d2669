"""Words on pictures, for each kind of task."""

import torch

from lightning_mtl.reports.captions import LINE, legend, prediction_words, target_words, written
from lightning_mtl.tasks import (
    Attributes,
    Classification,
    Depth,
    Disparity,
    HumanParts,
    Normals,
    Regression,
    Segmentation,
)
from lightning_mtl.tasks.colors import class_colors

NAN = float("nan")


def test_depth_has_its_range_in_metres_without_invalid_pixels() -> None:
    depth = torch.tensor([[0.0, 1.25, 8.0], [0.0, 0.0, 0.0]])[:, None, None]
    assert target_words(Depth(), depth) == ["1.2-8 m", ""]
    assert target_words(Disparity(), depth) == ["1.2-8", ""]


def test_a_class_of_an_image_is_written_unless_it_is_ignored() -> None:
    task = Classification(10, "digit")
    assert target_words(task, torch.tensor([7, 255])) == ["7", ""]
    assert prediction_words(task, torch.eye(10)[[3, 9]]) == ["3", "9"]
    assert prediction_words(task, torch.eye(10)[[3, 9], :, None, None]) == ["3", "9"]


def test_a_few_numbers_of_an_image_are_written_and_many_are_not() -> None:
    task = Regression("size", 2)
    assert target_words(task, torch.tensor([[0.5, NAN]])) == ["0.5 ?"]
    assert prediction_words(task, torch.tensor([[0.5, -2.25]])) == ["0.5 -2.2"]
    assert target_words(Regression("size", 9), torch.zeros(2, 9)) == ["", ""]


def test_attributes_are_written_as_probabilities() -> None:
    task = Attributes(1, "Smiling")
    assert target_words(task, torch.tensor([[1], [0], [255]])) == ["1", "0", "?"]
    assert prediction_words(task, torch.zeros(1, 1)) == ["0.5"]


def test_other_pictures_speak_for_themselves() -> None:
    assert target_words(Normals(), torch.zeros(2, 3, 4, 4)) == ["", ""]
    assert prediction_words(Segmentation(3), torch.zeros(2, 3, 4, 4)) == ["", ""]
    pictures = torch.rand(2, 3, 40, 60)
    assert torch.equal(written(pictures, ["", ""]), pictures)


def test_words_are_written_in_the_lower_left_corner_and_a_digit_is_large() -> None:
    blank = torch.full((1, 3, 96, 96), 0.5)
    areas = []
    for word in ("7", "0.52-8.1 m"):
        changed = (written(blank, [word])[0] - blank[0]).abs().amax(dim=0) > 0.1
        rows, columns = changed.nonzero().unbind(dim=1)
        assert rows.min() > 48
        assert columns.min() < 10
        areas.append(int(rows.max() - rows.min()))
    assert areas[0] > 1.5 * areas[1]


def test_a_legend_has_the_colour_of_every_class_and_as_many_lines_as_it_needs() -> None:
    strip = legend({"parts": HumanParts(), "depth": Depth()}, 400)
    assert strip.shape == (3, LINE, 400)
    pixels = strip.flatten(1).T
    for color in class_colors(7):
        assert ((pixels - color).abs().amax(dim=1) < 0.01).sum() >= 50
    assert legend({"segmentation": Segmentation(40)}, 400).shape[1] > 2 * LINE


def test_tasks_without_classes_have_no_legend() -> None:
    assert legend({"depth": Depth(), "normals": Normals()}, 200).shape == (3, 0, 200)
    assert legend({}, 200).shape == (3, 0, 200)
