"""Ten photos of five sizes, as they lie in a person's folder, with what else lies there."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZES = {
    "beach/deep/wide.webp": (24, 60),
    "beach/one.jpg": (40, 48),
    "beach/one.png": (48, 40),
    "beach/two.JPG": (40, 48),
    "cut_out.png": (32, 32),
    "grey.png": (32, 32),
    "palette.png": (40, 48),
    "printed.tif": (64, 48),
    "scan.tiff": (64, 48),
    "turned.jpeg": (48, 40),
}
"""Height and width of each photo as a person sees it."""

ROTATE_90 = 6
"""The value of the EXIF orientation of a camera held upright."""


def write_photos(folder: Path) -> Path:
    """The folder, with the photos, hidden files and files that are no photos."""
    for place, (name, size) in enumerate(SIZES.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save(smooth(size, place), path)
        # As macOS leaves beside every file on other systems' disks.
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7")
    (folder / ".thumbnails").mkdir()
    save(smooth((8, 8), 0), folder / ".thumbnails" / "one.jpg")
    (folder / "notes.txt").write_text("July")
    return folder


def smooth(size: tuple[int, int], seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((size[1], size[0]), Image.Resampling.BICUBIC)


def save(image: Image.Image, path: Path) -> None:
    """Save a photo as the kind that its name promises."""
    options = {}
    if path.name == "turned.jpeg":
        image = image.transpose(Image.Transpose.ROTATE_90)
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = ROTATE_90
    elif path.name == "cut_out.png":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    elif path.name == "grey.png":
        image = image.convert("L")
    elif path.name == "palette.png":
        image = image.convert("P", palette=Image.Palette.ADAPTIVE)
    elif path.name == "printed.tif":
        image = image.convert("CMYK")
    elif path.name == "scan.tiff":
        image = Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)
    image.save(path, **options)
