"""The Sphinx extension that makes the site's pages from the package before they are read."""

from sphinx.application import Sphinx

from sitebuilder.equivalences import write_equivalences
from sitebuilder.evidence import insert_evidence
from sitebuilder.llms import write_index
from sitebuilder.method_pages import FOLDER, write_method_pages
from sitebuilder.metric_tables import write_metrics
from sitebuilder.notebooks import write_notebooks
from sitebuilder.overview import write_overview
from sitebuilder.panels import cut_panels
from sitebuilder.scales import insert_scales
from sitebuilder.speed import write_speed


def generate(app: Sphinx) -> None:
    """Write all pages that are made from the package. Called by Sphinx before it reads any."""
    cut_panels(FOLDER / "panels")
    write_method_pages()
    write_overview()
    write_equivalences()
    write_metrics()
    write_speed()
    write_notebooks()


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to the events of a build. Called by Sphinx."""
    app.connect("builder-inited", generate)
    app.connect("source-read", insert_scales)
    app.connect("source-read", insert_evidence)
    app.connect("build-finished", write_index)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
