"""What tasks write on their pictures, and their legends."""

import torch

from lightning_mtl.tasks import (
    Attributes,
    Classification,
    Depth,
    Disparity,
    HumanParts,
    Keypoints,
    Normals,
    Regression,
    Segmentation,
)
from lightning_mtl.tasks.colors import class_colors

NAN = float("nan")


def test_depth_has_its_range_in_metres_without_invalid_pixels() -> None:
    depth = torch.tensor([[0.0, 1.25, 8.0], [0.0, 0.0, 0.0]])[:, None, None]
    assert Depth().target_words(depth) == ["1.2-8 m", ""]
    assert Disparity().target_words(depth) == ["1.2-8", ""]


def test_a_class_of_an_image_is_written_unless_it_is_ignored() -> None:
    task = Classification(10, "digit")
    assert task.target_words(torch.tensor([7, 255])) == ["7", ""]
    assert task.words(torch.eye(10)[[3, 9]]) == ["3", "9"]
    assert task.words(torch.eye(10)[[3, 9], :, None, None]) == ["3", "9"]


def test_a_few_numbers_of_an_image_are_written_and_many_are_not() -> None:
    task = Regression("size", 2)
    assert task.target_words(torch.tensor([[0.5, NAN]])) == ["0.5 ?"]
    assert task.words(torch.tensor([[0.5, -2.25]])) == ["0.5 -2.2"]
    assert Regression("size", 9).target_words(torch.zeros(2, 9)) == ["", ""]


def test_attributes_are_written_as_probabilities() -> None:
    task = Attributes(1, "Smiling")
    assert task.target_words(torch.tensor([[1], [0], [255]])) == ["1", "0", "?"]
    assert task.words(torch.zeros(1, 1)) == ["0.5"]


def test_nothing_is_written_on_other_pictures() -> None:
    assert Normals().target_words(torch.zeros(2, 3, 4, 4)) == ["", ""]
    assert Segmentation(3).words(torch.zeros(2, 3, 4, 4)) == ["", ""]


def test_the_legend_has_the_colour_in_which_each_class_is_drawn() -> None:
    for task in (HumanParts(), Segmentation(7), Keypoints(7)):
        assert list(task.palette) == [str(label) for label in range(7)]
        torch.testing.assert_close(torch.tensor(list(task.palette.values())), class_colors(7))
    drawn = Segmentation(7).draw_target(torch.tensor([[[3]]])).flatten()
    torch.testing.assert_close(torch.tensor(Segmentation(7).palette["3"]), drawn)


def test_tasks_without_classes_have_no_legend() -> None:
    assert not Depth().palette
    assert not Normals().palette
    assert not Attributes(2).palette


def test_classes_with_names_are_called_by_them_in_legends_and_words() -> None:
    names = ["cat", "dog"]
    for task in (Segmentation(2, class_names=names), HumanParts(2, class_names=names)):
        assert list(task.palette) == names
        assert list(task.palette.values()) == list(Segmentation(2).palette.values())
    pets = Classification(2, "pet", class_names=names)
    assert pets.words(torch.eye(2)) == names
    assert pets.target_words(torch.tensor([1, 255])) == ["dog", ""]
    attributes = Attributes(2, class_names=["old", "happy"])
    assert attributes.target_words(torch.tensor([[1, 255]])) == ["old 1 happy ?"]
    assert attributes.words(torch.zeros(1, 2)) == ["old 0.5 happy 0.5"]
