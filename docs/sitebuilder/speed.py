"""The page about costs, from the prices that the classes state."""

from pathlib import Path

from lightning_mtl.catalogue import price, weightings
from sitebuilder.badges import memory
from sitebuilder.files import DOCS, template, write

FILE = DOCS / "tables" / "speed.md"


def write_speed(file: Path = FILE) -> Path:
    """Write the page about costs, and return its file."""
    prices: dict[str, list[str]] = {}
    for kind in weightings():
        key = f"{price(kind).partition(',')[0]} | {memory(kind)}"
        prices.setdefault(key, []).append(f"[{kind.__name__}](../methods/{kind.__name__}.md)")
    write(file, template("speed.md.jinja", prices=prices))
    return file
