"""The report: one page that needs nothing else."""

import re
from html.parser import HTMLParser

import pytest

from lightning_mtl.answers.answer import answer
from lightning_mtl.answers.page import html, markdown_page
from lightning_mtl.answers.pictures import pictures
from tests.answers.examples import planted

NASTY = '<script>alert("1")</script> & co'
RESULTS = planted(
    {"equal": 0.0, NASTY: 0.1, "c": 0.0},
    name="Rooms & <more>",
    failed=("`c` with seed 9 ended: out of memory.",),
    notes=("Every method had 10 epochs.",),
    missing=1,
)


class Page(HTMLParser):
    """What a page loads, its tags, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page() -> str:
    found = answer(RESULTS)
    return html(found, pictures(found))


def test_the_page_loads_nothing_but_its_own_pictures(page: str) -> None:
    loads = Page(page).loads
    assert len(loads) == 3
    assert all(address.startswith("data:image/png;base64,") for address in loads)
    assert not re.search(r"https?://|@import|url\(", page)


def test_names_are_escaped_and_every_method_is_there(page: str) -> None:
    parsed = Page(page)
    assert "script" not in parsed.tags
    assert "<more>" in parsed.text
    for method in RESULTS.methods:
        assert method in parsed.text


def test_every_tag_is_closed_and_every_picture_has_a_text(page: str) -> None:
    assert Page(page).open == []
    assert page.count("<img") == page.count('alt="') == page.count("<figcaption>")


def test_words_come_first_and_failed_and_missing_runs_and_notes_are_told(page: str) -> None:
    text = Page(page).text
    places = [
        text.index(part)
        for part in (
            "Better than equal by more than the noise",
            "1 planned run has not finished",
            "Every method had 10 epochs.",
            "c with seed 9 ended: out of memory.",
        )
    ]
    assert places == sorted(places)


def test_the_markdown_page_has_words_tables_and_notes() -> None:
    text = markdown_page(answer(RESULTS))
    assert text.startswith("# Rooms & &lt;more>\n\n* Better than `equal`")
    for part in ("| method |", "## Cautions", "## Costs", "Every method had 10 epochs."):
        assert part in text
