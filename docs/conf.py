"""How Sphinx builds the site: `sphinx-build -W --keep-going -n docs docs/_build`."""

import sys
from pathlib import Path

from lightning_mtl.version import __version__

DOCS = Path(__file__).parent
# The site's own modules, those of its figures, and the tests, whose lists some tables show.
sys.path[:0] = [str(DOCS), str(DOCS / "figures"), str(DOCS.parent)]

project = "lightning_mtl"
author = "The lightning_mtl authors"
copyright = "2026, The lightning_mtl authors"
version = release = __version__

extensions = ["myst_parser", "sitebuilder.mathml", "sitebuilder.extension"]
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "sitebuilder"]
# Formulas and code are printed as they are, quotes and dashes included.
smartquotes = False
nitpicky = True

html_theme = "furo"
html_title = f"lightning_mtl {release}"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
