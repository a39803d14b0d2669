"""Folders of all layouts; in that of mOSD, a tilted plane with two boxes of labels per frame."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.formats import FORMATS

INTRINSICS = np.array([[525.0, 0.0, 319.5], [0.0, 525.0, 239.5], [0.0, 0.0, 1.0]])
NORMAL = np.array([0.0, -0.8, -0.6])


@pytest.fixture(scope="session")
def mosd_frames(tmp_path_factory) -> Path:
    """10 frames to train and 3 to test, whose image brightness is 20 times their number."""
    root = tmp_path_factory.mktemp("mosd")
    for folder in ("rgb", "depth_mm", "label"):
        (root / folder).mkdir()
    np.savetxt(root / "intrinsics.txt", INTRINSICS)
    for split, count in (("train", 10), ("test", 3)):
        names = [f"{split}{i}" for i in range(count)]
        (root / f"{split}.txt").write_text("\n".join(names))
        for i, name in enumerate(names):
            write_frame(root, name, brightness=20 * i)
    return root


def write_frame(root: Path, name: str, brightness: int) -> None:
    v, u = np.mgrid[:480, :640]
    rays = np.stack([(u - 319.5) / 525, (v - 239.5) / 525, np.ones_like(u)])
    label = np.ones((480, 640), np.uint8)
    label[:, 320:] = 5
    label[100:300, 100:200] = 21
    label[100:300, 200:300] = 40
    label[:80] = 0
    millimetres = np.round(-1000 / np.einsum("c,chw->hw", NORMAL, rays))
    depth = np.where(label > 0, millimetres, 0).astype(np.uint16)
    Image.fromarray(np.full((480, 640, 3), brightness, np.uint8)).save(root / f"rgb/{name}.jpg")
    Image.fromarray(depth).save(root / f"depth_mm/{name}.png", compress_level=1)
    Image.fromarray(label).save(root / f"label/{name}.png")


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> dict[str, Path]:
    """One untouched folder per format."""
    folders = {name: tmp_path_factory.mktemp(name) for name in FORMATS}
    for name, folder in folders.items():
        FORMATS[name].write(folder)
    return folders


@pytest.fixture
def broken(written, tmp_path) -> Callable[[str], Path]:
    """Copies a folder, to damage the copy."""
    return lambda name: Path(shutil.copytree(written[name], tmp_path / name))
