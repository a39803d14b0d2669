"""Files of predictions: pictures, maps of numbers, and facts, for other programs to read."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

__all__ = [
    "finite",
    "write_classes",
    "write_facts",
    "write_picture",
    "write_shares",
    "write_steps",
]

LARGEST = {np.uint8: 255, np.uint16: 65535}


def write_picture(
    picture: Float[Tensor, "3 H W"], path: Path, text: Mapping[str, str] | None = None
) -> Path:
    """Write an RGB picture as PNG, and return the path of the file.

    Args:
        picture: from 0 to 1; NaN is 0.
        path: where to, without a suffix.
        text: what the file says of its content.
    """
    return _write_png(Image.fromarray(_eight_bits(picture.movedim(0, -1))), path, text or {})


def write_shares(share: Float[Tensor, "H W"], path: Path) -> Path:
    """Write numbers from 0 to 1, such as probabilities, as grey PNG of 8 bits: 255 is 1.

    Args:
        share: the numbers; NaN is 0.
        path: where to, without a suffix.
    """
    return _write_png(Image.fromarray(_eight_bits(share)), path, {"scale": f"{1 / 255:g}"})


def write_classes(
    labels: Int[Tensor, "H W"],
    path: Path,
    colors: Float[Tensor, "C 3"],
    names: Sequence[str] | None = None,
) -> Path:
    """Write a class per pixel as PNG whose values are the classes, and whose palette the colours.

    Beyond 256 classes it is grey of 16 bits, which has no palette.

    Args:
        labels: from 0 to C - 1.
        path: where to, without a suffix.
        colors: of the classes, RGB from 0 to 1.
        names: of the classes, which the file holds as a list under "classes".
    """
    text = {} if names is None else {"classes": json.dumps(list(names), ensure_ascii=False)}
    values = labels.cpu().numpy()
    if len(colors) > 256:
        return _write_png(Image.fromarray(values.astype(np.uint16)), path, text)
    image = Image.fromarray(values.astype(np.uint8))
    image.putpalette(_eight_bits(colors).tobytes())
    return _write_png(image, path, text)


def write_steps(
    values: Float[Tensor, "H W"], path: Path, finest: int | None, text: Mapping[str, str]
) -> Path:
    """Write numbers of at least 0 as grey PNG of 16 bits: a pixel times "scale" is the number.

    The scale, which the file holds beside the text, is the smallest power of ten that lets the
    largest number fit. Negative numbers and NaN are 0.

    Args:
        values: the numbers.
        path: where to, without a suffix.
        finest: the exponent of the smallest scale, such as -3 for millimetres in metres; `None` if
            it may be as small as it can.
        text: what the file says of its content.
    """
    numbers = values.double().cpu().numpy()
    exponent = _exponent(numbers[np.isfinite(numbers)].max(initial=0))
    exponent = exponent if finest is None else max(finest, exponent)
    steps = np.nan_to_num(numbers / 10.0**exponent, nan=0, posinf=LARGEST[np.uint16], neginf=0)
    pixels = steps.round().clip(0, LARGEST[np.uint16]).astype(np.uint16)
    return _write_png(Image.fromarray(pixels), path, {**text, "scale": f"{10.0**exponent:g}"})


def write_facts(facts: Any, path: Path) -> Path:
    """Write facts about an image as JSON, and return the path of the file.

    Args:
        facts: mappings, lists, numbers and words; numbers are finite (see `finite`).
        path: where to, without a suffix.
    """
    file = path.with_name(f"{path.name}.json")
    file.write_text(json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return file


def finite(value: float) -> float | None:
    """The number with seven digits, as many as float32 has; `None` for what JSON has no word for.

    Args:
        value: any number.
    """
    return float(f"{value:.7g}") if math.isfinite(value) else None


def _exponent(largest: float) -> int:
    """The smallest exponent whose power of ten lets a number fit into 16 bits."""
    # Half a step more rounds down to the largest pixel.
    room = LARGEST[np.uint16] + 0.49
    return math.ceil(math.log10(largest / room)) if largest > 0 else 0


def _eight_bits(share: Tensor) -> np.ndarray:
    pixels = (share.float().nan_to_num(0).clamp(0, 1) * LARGEST[np.uint8]).round()
    return np.ascontiguousarray(pixels.cpu().numpy().astype(np.uint8))


def _write_png(image: Image.Image, path: Path, text: Mapping[str, str]) -> Path:
    # Not `with_suffix`, which would take the end of "frame.0001" for a suffix.
    file = path.with_name(f"{path.name}.png")
    info = PngInfo()
    for key, value in text.items():
        info.add_itxt(key, value)
    image.save(file, pnginfo=info)
    return file
