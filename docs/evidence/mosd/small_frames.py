"""Write mOSD as small pictures, so that a hundred short runs do not decode its frames each time.

    LIGHTNING_MTL_MOSD=<folder> python docs/evidence/mosd/small_frames.py FOLDER

The 45 official training frames are resized to 48 x 64 pixels, and every fifth is held out for
validation; normals are computed at full resolution before that. The test frames are left alone.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from lightning_mtl.data.datasets.mosd import MOSD

SIZE = (48, 64)
HELD_OUT = 0.2


def pixels(sample: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """The pictures of a frame, by the folder that each belongs into."""
    normals = sample["normals"].movedim(0, -1).numpy()
    known = np.abs(normals).sum(-1, keepdims=True) > 0
    return {
        "images": np.rint(255 * sample["image"].movedim(0, -1).numpy()).astype(np.uint8),
        "segmentation": sample["segmentation"].numpy().astype(np.uint8),
        "depth": np.rint(1000 * sample["depth"][0].numpy()).astype(np.uint16),
        # Unknown ones, which are zeros, become 128.
        "normals": np.where(known, np.rint(127.5 * (normals + 1)), 128).astype(np.uint8),
    }


def save(folder: Path, names: Sequence[str], frames: Iterable[Mapping[str, Tensor]]) -> None:
    """Write frames into the folders of their kinds, by their names."""
    for name, frame in zip(names, frames, strict=True):
        for kind, picture in pixels(frame).items():
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / kind / f"{name}.png")


def write(folder: Path, root: Path | None = None) -> None:
    """Write the folders `train` and `val` as `FoldersDataModule` reads them."""
    for split in ("train", "val"):
        frames = MOSD(root, split, SIZE, val_fraction=HELD_OUT, cache=False)
        save(folder / split, frames.names, (frames[index] for index in range(len(frames))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    write(parser.parse_args().folder)
