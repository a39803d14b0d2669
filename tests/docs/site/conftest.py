"""Makes the modules that build the site importable, as its `conf.py` does."""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[3] / "docs"
sys.path[:0] = [str(DOCS), str(DOCS / "figures")]
