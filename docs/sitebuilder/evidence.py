"""The pages of the evidence, which has as many folders as there are experiments."""

from sphinx.application import Sphinx

PAGE = "evidence/README"
TREE = "\n\n```{{toctree}}\n:hidden:\n\n{names}\n```\n"


def insert_evidence(app: Sphinx, name: str, source: list[str]) -> None:
    """List the pages of the experiments below that of the evidence. Called as each is read.

    The page itself is read outside the site, too, where a list for Sphinx would be in the way.
    """
    if name == PAGE:
        listed = sorted(page for page in app.env.found_docs if page.startswith("evidence/"))
        names = "\n".join(f"/{page}" for page in listed if page != PAGE)
        source[0] += TREE.format(names=names)
