"""The tables of the site show what they are made from."""

import re
from pathlib import Path

from sitebuilder.equivalences import write_equivalences
from sitebuilder.metric_tables import write_metrics
from sitebuilder.speed import write_speed

from lightning_mtl import metrics
from lightning_mtl.catalogue import weightings
from lightning_mtl.metrics.protocols import DEPTH
from tests.support.equivalence import EQUIVALENCES, RULES


def rows(page: str) -> list[list[str]]:
    """The cells of all rows of tables."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_every_promise_of_equality_has_a_cell(tmp_path: Path) -> None:
    page = write_equivalences(tmp_path / "page.md").read_text("utf-8")
    header, _, *body = rows(page)
    assert header == ["weighting", *EQUIVALENCES]
    assert len(body) == len(RULES)
    for name, row in zip(RULES, body, strict=True):
        assert name in row[0]
        for cell, equivalence in zip(row[1:], EQUIVALENCES.values(), strict=True):
            assert cell.startswith("no (") == (name in equivalence.exceptions)
            if not cell.startswith("no"):
                assert float(cell.split()[0]) == equivalence.tolerance
    # Each letter in the table is explained below it.
    letters = set(re.findall(r"\(([a-z])\) ?\|", page.replace(" |", "|").replace("|", " |")))
    assert letters
    for letter in letters:
        assert f"\n({letter}) " in page


def test_every_metric_and_protocol_is_described(tmp_path: Path) -> None:
    page = write_metrics(tmp_path / "page.md").read_text("utf-8")
    for name, value in vars(metrics).items():
        if isinstance(value, type):
            assert f"### {name}\n" in page
    table = [cells[0] for cells in rows(page)]
    told = {name for cell in table for name in cell.split(", ")}
    assert DEPTH.keys() - {"pooled"} <= told
    assert ["edges", "`bsds`, `nyud`, `survey`, `astmt`"] in rows(page)
    # Rows that go on in the next line of a docstring are one row here.
    assert all(cells[0] for cells in rows(page))
    assert "batches, raw predictions" in page


def test_every_weighting_has_a_price(tmp_path: Path) -> None:
    page = write_speed(tmp_path / "page.md").read_text("utf-8")
    for kind in weightings():
        assert page.count(f"[{kind.__name__}](../methods/{kind.__name__}.md)") == 1
    assert '| gradient-level, `gradients="probes"` | 2 F + H + B | P |' in page
