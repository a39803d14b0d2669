"""The whole site: it builds without a warning, holds together, and asks nothing of the network."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from sphinx.search.en import SearchEnglish

from lightning_mtl.catalogue import weightings
from tests.docs.site.conftest import DOCS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q"]
    paths = os.pathsep.join([str(DOCS.parent), os.environ.get("PYTHONPATH", "")])
    built = subprocess.run(
        [*command, "-d", str(out / "doctrees"), str(DOCS), str(out / "html")],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return out / "html"


class References(HTMLParser):
    """What a page refers to, and the places in it that can be referred to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.places: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.places.add(given["id"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") == "stylesheet":
            self.loaded.append(given["href"])
        if given.get("src"):
            self.loaded.append(given["src"])


def test_no_link_within_the_site_is_broken(site: Path) -> None:
    pages = {path: References(path) for path in site.rglob("*.html")}
    assert len(pages) > 60
    broken = []
    for page, found in pages.items():
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            known = pages[target].places if target in pages else set()
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in known):
                broken.append((page.name, link))
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not [each for each in References(page).loaded if urlsplit(each).netloc]
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", sheet.read_text(encoding="utf-8"))
        assert "@import" not in sheet.read_text(encoding="utf-8")


def test_the_search_knows_every_weighting_and_symptom(site: Path) -> None:
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    stem = SearchEnglish({}).stem
    for word in (*(kind.__name__.lower() for kind in weightings()), "hangs", "memory"):
        assert re.search(rf'\b{stem(word)}"?:', index), word


def test_formulas_are_mathml(site: Path) -> None:
    page = (site / "methods" / "MGDA.html").read_text(encoding="utf-8")
    assert '<div class="formula" tabindex="0"><math ' in page


def test_the_index_for_language_models_names_every_page_with_its_source(site: Path) -> None:
    text = (site / "llms.txt").read_text(encoding="utf-8")
    assert text.startswith("# lightning_mtl\n\n> ")
    named = re.findall(r"^- \[.+\]\((.+)\): .", text, re.MULTILINE)
    assert all((site / name).is_file() for name in named)
    sources = {str(path.relative_to(site)) for path in site.glob("_sources/**/*.md.txt")}
    assert sources - set(named) == {"_sources/index.md.txt"}
    # They are complete: no mark stands for a list.
    assert "<!-- SCALES" not in (site / "_sources/conventions.md.txt").read_text("utf-8")
