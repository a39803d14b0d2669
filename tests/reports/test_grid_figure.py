"""The figure of the grid: pictures pixel by pixel, and words that neither overlap nor are cut."""

from itertools import combinations, product

import matplotlib
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from torch import Tensor

from lightning_mtl.reports.grid_figure import GAP, SMALLEST, Column, grid_figure, rendered
from lightning_mtl.tasks.colors import class_colors, class_palette

LONG = "a_name_of_some_thirty_letters"


def column(title: str = "input", size: tuple[int, int] = (32, 32), **entries: object) -> Column:
    return Column(title, torch.rand(2, 3, *size), **({"words": ["", ""]} | entries))


def cell(figure: Figure, row: int, place: int) -> Tensor:
    """The pixels of one picture."""
    columns = figure.axes[0].get_gridspec().ncols
    box = figure.axes[row * columns + place].get_window_extent()
    drawn = rendered(figure).flip(1)
    left, bottom, right, top = (round(edge) for edge in box.extents)
    return drawn[:, bottom:top, left:right].flip(1)


def texts(figure: Figure) -> dict[Text, Bbox]:
    """The places of all words, in pixels."""
    figure.canvas.draw()
    shown = [child for axes in figure.axes for child in axes.get_children()]
    for axes in figure.axes:
        shown += axes.legend_.get_texts() if axes.legend_ else []
    return {
        text: text.get_window_extent()
        for text in shown
        if isinstance(text, Text) and text.get_text()
    }


# Older releases round some pixels to the one beside them.
SHIFTS = (0,) if matplotlib.__version_info__ >= (3, 11) else (0, -1, 1)


@pytest.mark.parametrize("size", [(32, 32), (36, 36), (120, 160), (40, 300)])
def test_small_pictures_are_enlarged_pixel_by_pixel_and_large_ones_kept(size):
    columns = [column(size=size), column("target", size), column("predicted", size)]
    figure = grid_figure(columns, size)
    times = -(-SMALLEST // size[1])
    for place, row in ((0, 0), (1, 1), (2, 0)):
        expected = columns[place].pictures[row]
        for axis in (1, 2):
            expected = expected.repeat_interleave(times, axis)
        shown = cell(figure, row, place)
        errors = [(shown - expected.roll(by, (1, 2))).abs() for by in product(SHIFTS, SHIFTS)]
        assert torch.stack(errors).amin(0).max() <= 0.51 / 255


def test_the_figure_is_as_large_as_its_pictures_and_titles():
    height, width = rendered(grid_figure([column(), column(), column()], (32, 32))).shape[1:]
    assert width == 3 * (SMALLEST + GAP) + GAP
    assert 2 * (SMALLEST + GAP) + GAP < height < 2 * (SMALLEST + GAP) + GAP + 30


def test_pictures_of_one_row_are_stretched():
    figure = grid_figure([column(size=(1, 4))], (48, 64))
    shown = cell(figure, 0, 0)
    assert shown.shape == (3, 96, 128)
    assert all((shown[:, :, 32 * k : 32 * k + 32].std(dim=(1, 2)) < 1e-6).all() for k in range(4))


@pytest.mark.parametrize(
    ("size", "name", "classes"),
    [((32, 32), "x", 2), ((64, 96), f"{LONG}\n{LONG}", 40), ((64, 512), LONG, 21)],
    ids=["small", "two long lines", "wide"],
)
def test_no_words_overlap_and_none_are_cut(size, name, classes):
    pairs = [
        (
            column(f"{name}\ntarget", size, words=["1.2-8 m", "0.52"], palette=palette),
            column("predicted", (1, 3), words=["-0.76 -0.89 -0.52", "7"]),
        )
        for palette in (class_palette(classes), {"upper arms": (0.0, 0.5, 0.2), LONG: (1, 0, 0)})
    ]
    figure = grid_figure([column(size=size), *pairs[0], *pairs[1]], size)
    boxes = texts(figure)
    assert len(boxes) == 5 + 4 * 2 + classes + 2
    titles = [text for text in boxes if text.get_text().endswith(("target", "predicted"))]
    # The box of a name and "target" also holds "predicted", which stands beside the latter.
    beside = [set(titles[:2]), set(titles[2:])]
    for (one, first), (other, second) in combinations(boxes.items(), 2):
        if {one, other} not in beside:
            assert not first.shrunk(0.99, 0.99).overlaps(second.shrunk(0.99, 0.99)), (one, other)
    for box in boxes.values():
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1


def test_letters_are_readable_and_grow_with_the_pictures():
    heights = []
    for size in ((32, 32), (512, 512)):
        figure = grid_figure([column(size=size, words=["8 m", ""])], size)
        heights.append([box.height for box in texts(figure).values()])
    assert min(heights[0]) >= 9
    assert min(heights[1]) > 3 * min(heights[0])


def test_words_are_in_the_lower_left_corner_and_large_in_the_middle_of_a_single_row():
    figure = grid_figure([column(words=["7", ""]), column("x", (1, 1), words=["7", ""])], (32, 32))
    small, large = (text for text in texts(figure) if text.get_text() == "7")
    boxes = texts(figure)
    assert boxes[small].x1 - small.axes.bbox.x0 < SMALLEST / 4
    assert boxes[small].y1 - small.axes.bbox.y0 < SMALLEST / 4
    assert boxes[large].height > 1.5 * boxes[small].height
    middle = large.axes.bbox.get_points().mean(axis=0)
    assert abs(boxes[large].get_points().mean(axis=0) - middle).max() < 4


def test_a_legend_has_the_colour_of_every_class_and_as_many_lines_as_it_needs():
    extra = []
    for classes in (7, 40):
        blank = Column("x", torch.zeros(1, 3, 32, 32), [""], class_palette(classes))
        shown = rendered(grid_figure([blank, blank], (32, 32)))
        pixels = shown.flatten(1).T
        for color in class_colors(classes):
            assert ((pixels - color).abs().amax(dim=1) < 0.01).sum() >= 50
        extra.append(shown.shape[1])
    assert extra[1] > extra[0] + 30
