"""The tables of weightings and networks say of each class what its docstring says."""

import re

import pytest
import torch

from lightning_mtl.callbacks import (
    DWA,
    MGDA,
    AlternatingUpdates,
    EqualWeighting,
    GradNorm,
    GramianWeighting,
)
from lightning_mtl.catalogue import (
    citations,
    fixed_weights,
    networks,
    networks_markdown,
    renewed,
    summary,
    weightings,
    weightings_markdown,
)
from lightning_mtl.models import MTAN, DenseNetwork


def rows(table: str) -> dict[str, list[str]]:
    lines = table.splitlines()[2:]
    # A bar within a cell is escaped.
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_every_weighting_has_one_complete_row() -> None:
    table = rows(weightings_markdown())
    assert list(table) == [kind.__name__ for kind in weightings()]
    assert GramianWeighting.__name__ not in table
    for needs, what, _, price in table.values():
        assert needs in ("losses", "gradients")
        assert what
        assert {"F", "H", "B"} <= set(price)


def test_a_row_says_what_the_class_says() -> None:
    assert rows(weightings_markdown())["GradNorm"] == [
        "gradients",
        summary(GradNorm),
        "Chen et al., ICML 2018",
        GradNorm.price,
    ]


def test_every_network_has_one_complete_row() -> None:
    table = rows(networks_markdown())
    assert list(table) == [kind.__name__ for kind in networks()]
    assert {"CrossStitch", "MTINet", "PLE"} < set(table)
    assert DenseNetwork.__name__ not in table
    for inputs, what, _ in table.values():
        assert inputs in ("images", "features")
        assert what
    assert table["MTAN"] == ["images", summary(MTAN), "Liu et al., CVPR 2019"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (DWA, "Liu et al., CVPR 2019"),
        (MGDA, "Désidéri, Comptes Rendus Mathematique 2012; Sener & Koltun, NeurIPS 2018"),
        (
            AlternatingUpdates,
            "Pascal et al., arXiv 2109.11678; Jeong & Yoon, ICLR 2025; Patapati & Srinivasan,"
            " arXiv 2509.16959",
        ),
        (EqualWeighting, ""),
    ],
    ids=["one work", "two works", "a preprint", "no work"],
)
def test_works_are_cited_in_short(kind: type, expected: str) -> None:
    assert citations(kind) == expected


def test_the_table_is_renewed_where_it_is_marked() -> None:
    text = "before <!-- weightings:begin --> old <!-- weightings:end --> after"
    new = renewed(text)
    assert new.startswith("before ")
    assert new.endswith(" after")
    assert weightings_markdown() in new
    assert "old" not in new
    assert renewed(new) == new
    text = "a <!-- networks:begin --> b <!-- networks:end --> c"
    assert networks_markdown() in renewed(text)


@pytest.mark.parametrize(
    "text",
    ["", "<!-- weightings:end --> <!-- weightings:begin -->", "<!-- networks:begin -->"],
    ids=["empty", "marks out of order", "no end"],
)
def test_a_text_without_marks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="should be marked by"):
        renewed(text)


def test_fixed_weights_are_given_to_the_weighting_that_takes_them() -> None:
    weighting = fixed_weights()({"one": 2.0, "two": 1.0})
    assert weighting.weights(torch.ones(2)).tolist() == [2, 1]
