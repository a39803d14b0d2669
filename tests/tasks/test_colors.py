"""Colours that can be told apart."""

import pytest
import torch
from matplotlib import colormaps

from lightning_mtl.tasks.colors import class_colors, colorize


@pytest.mark.parametrize(("num_classes", "distance"), [(2, 1.0), (9, 0.45), (21, 0.3), (40, 0.2)])
def test_no_two_classes_look_alike_and_none_is_black(num_classes, distance):
    colors = torch.cat([class_colors(num_classes), torch.zeros(1, 3)])
    assert torch.nn.functional.pdist(colors).min() > distance


def test_the_colour_of_a_class_does_not_depend_on_how_many_there_are():
    assert torch.equal(class_colors(40)[:5], class_colors(5))


def test_values_have_the_colours_of_viridis():
    values = torch.tensor([[[0.0, 0.5, 1.0]]])
    expected = torch.tensor(colormaps["viridis"]([0, 128, 255]), dtype=torch.float32)[:, :3]
    torch.testing.assert_close(colorize(values)[0, :, 0].T, expected)


def test_values_out_of_range_have_the_colours_of_its_ends():
    values = torch.tensor([[[-torch.inf, -1.0, torch.nan, 2.0, torch.inf]]])
    ends = torch.tensor([[[0.0, 0.0, 0.0, 1.0, 1.0]]])
    assert torch.equal(colorize(values), colorize(ends))
