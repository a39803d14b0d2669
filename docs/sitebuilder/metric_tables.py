"""The page about metrics and protocols, from the docstrings of the package's metrics."""

import inspect
import re
from pathlib import Path

from lightning_mtl import metrics
from lightning_mtl.metrics import protocols, saliency
from lightning_mtl.metrics.edges import edge_protocols
from sitebuilder.cards import card
from sitebuilder.files import DOCS, template, write
from sitebuilder.prose import markdown

FILE = DOCS / "tables" / "metrics.md"
PROTOCOLS = {
    "segmentation": list(protocols.SEGMENTATION),
    "depth": list(protocols.DEPTH),
    "normals": list(protocols.NORMALS),
    "saliency": list(saliency.PROTOCOLS),
    "edges": list(edge_protocols.PROTOCOLS),
}
"""The names of the protocols of each task; the first one is the default of its metrics."""
TABLE = re.compile(r"(?:^\|.*\n?)+", re.MULTILINE)


def write_metrics(file: Path = FILE) -> Path:
    """Write the page of metrics and protocols, and return its file."""
    kinds = [value for value in vars(metrics).values() if inspect.isclass(value)]
    text = template(
        "metrics.md.jinja",
        metrics=[(kind.__name__, *_described(kind)) for kind in kinds],
        protocols=PROTOCOLS,
        differences=_table(protocols),
        notes=_notes(),
        edges=_table(edge_protocols),
        saliency=_table(metrics.SaliencyMetrics),
    )
    write(file, text)
    return file


def _described(kind: type) -> tuple[str, list[str]]:
    """The summary of a metric, and its other paragraphs without tables."""
    parts = card(kind)
    paragraphs = [TABLE.sub("", paragraph).strip() for paragraph in parts.description]
    return markdown(parts.summary), [markdown(text) for text in paragraphs if text]


def _table(described: object) -> str:
    """The table in a docstring; docstrings write them in Markdown."""
    found = TABLE.search(inspect.getdoc(described) or "")
    if found is None:
        raise ValueError(
            f"The docstring of `{described}` should hold a table in Markdown. Found none. Write one"
            " there, or leave it out of the page of metrics."
        )
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in found[0].splitlines()]
    return "\n".join("| " + " | ".join(row) + " |" for row in _joined(rows))


def _joined(rows: list[list[str]]) -> list[list[str]]:
    """The rows, with those whose first cell is empty taken as more text of the row before."""
    whole: list[list[str]] = []
    for row in rows:
        if row[0]:
            whole.append(row)
        else:
            whole[-1] = [
                f"{start} {rest}".strip() for start, rest in zip(whole[-1], row, strict=True)
            ]
    return whole


def _notes() -> list[str]:
    """The list below the table of protocols."""
    text = (inspect.getdoc(protocols) or "").partition("\n* ")[2].partition("\n\n")[0]
    return [markdown(note) for note in text.split("\n* ")]
