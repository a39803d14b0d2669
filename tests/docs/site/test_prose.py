"""Docstrings become Markdown that shows what they say."""

import io

from rich.console import Console
from rich.markdown import Markdown
from sitebuilder.prose import markdown


def rendered(text: str) -> str:
    """The words that a reader of the Markdown sees, by a renderer that knows no formulas."""
    console = Console(file=io.StringIO(), width=200)
    console.print(Markdown(markdown(text)))
    return console.file.getvalue().strip()


def test_signs_of_formulas_are_shown_as_they_are() -> None:
    for formula in (
        "w_k = Σ_j |g_j · g_k|*2* over ||∇_W L_k||",
        "P < U, A > B, [0, 1] and [a](b)",
        "costs $5 and $6 ~ #7",
    ):
        assert rendered(formula) == formula


def test_code_stays_code() -> None:
    assert markdown("see `train/weight/<task>`") == "see `train/weight/<task>`"
    assert rendered("see `a_b` and a_b") == "see a_b and a_b"


def test_names_of_weightings_are_links() -> None:
    assert markdown("as `MGDA` and `DWA`", {"MGDA"}, "../methods/") == (
        "as [`MGDA`](../methods/MGDA.md) and `DWA`"
    )


def test_lines_are_joined_and_indented_ones_displayed() -> None:
    text = "Where it\nholds,\n\n    a_1 = 1,\n        b = 2,\n\nit is\nso."
    assert markdown(text) == "Where it holds,\n\n```text\na_1 = 1,\n    b = 2,\n```\n\nit is so."
