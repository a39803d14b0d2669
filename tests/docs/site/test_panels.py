"""The panels of the figure are cut out along their frames."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sitebuilder import panels
from sitebuilder.panels import course_of, cut_panels, frames

from lightning_mtl.catalogue import weightings


def test_frames_are_found_row_by_row_without_empty_places() -> None:
    dark = np.zeros((60, 60), bool)
    expected = [(2, 3, 29, 28), (32, 3, 59, 28), (2, 33, 29, 58)]
    for left, top, right, bottom in expected:
        dark[[top, bottom - 1], left:right] = True
        dark[top:bottom, [left, right - 1]] = True
    assert list(frames(dark)) == expected


def test_every_weighting_of_the_figure_has_a_panel_that_ends_at_its_frame(tmp_path: Path) -> None:
    files = cut_panels(tmp_path)
    shown = [file.stem for file in files]
    assert shown == [kind.__name__ for kind in weightings() if course_of(kind.__name__)]
    for file in files:
        pixels = np.asarray(Image.open(file).convert("L"))
        assert abs(pixels.shape[0] - pixels.shape[1]) <= 2
        for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
            assert edge.max() < 90


def test_a_figure_with_another_number_of_panels_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = panels._ends()[:3]
    monkeypatch.setattr(panels, "_ends", lambda: one)
    with pytest.raises(ValueError, match="Draw both anew"):
        cut_panels(tmp_path)
