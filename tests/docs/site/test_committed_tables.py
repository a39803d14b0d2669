"""The tables that are committed within pages are those of the classes."""

import pytest

from lightning_mtl.catalogue import renewed
from tests.docs.site.conftest import DOCS


@pytest.mark.parametrize("name", ["guide/weightings.md", "tables/networks.md"])
def test_a_table_is_that_of_the_classes(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    assert renewed(page) == page, f"run `python -m lightning_mtl.catalogue docs/{name}`"
