"""The page about costs, from the prices that the classes state and the README's table."""

import re
from pathlib import Path

from lightning_mtl.catalogue import price, weightings
from sitebuilder.badges import memory
from sitebuilder.files import DOCS, template, write
from sitebuilder.readme import section

FILE = DOCS / "tables" / "speed.md"
FAMILIES = re.compile(r"^\| family \|.*\n(?:^\|.*\n)+", re.MULTILINE)


def write_speed(file: Path = FILE) -> Path:
    """Write the page about costs, and return its file."""
    readme = section("Weightings", "docs/tables/speed.md") + "\n"
    families = FAMILIES.search(readme)
    if families is None:
        raise ValueError(
            "The README's section on weightings should hold the table that starts with"
            " `| family |`. Found none. Put it back, or change `sitebuilder.speed`."
        )
    prices: dict[str, list[str]] = {}
    for kind in weightings():
        key = f"{price(kind).partition(',')[0]} | {memory(kind)}"
        prices.setdefault(key, []).append(f"[{kind.__name__}](../methods/{kind.__name__}.md)")
    write(
        file,
        template(
            "speed.md.jinja",
            families=families[0].strip(),
            prices=prices,
            remarks=readme[families.end() :].strip(),
        ),
    )
    return file
