"""`llms.txt`: an index of the site for language models, as https://llmstxt.org describes it."""

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

from sitebuilder.files import write
from sitebuilder.scales import with_scales

GROUPS = {
    "Start": ("guide/",),
    "Notebooks": ("notebooks/",),
    "Methods": ("methods/",),
    "Tables": ("tables/",),
    "Help": ("troubleshooting", "conventions", "migration/"),
    "Results": ("results", "evidence/", "figures/"),
}
SUMMARY = (
    "Multi-task learning for PyTorch Lightning. A `MultiTaskModule` returns one loss for each task"
    " from `task_losses`, and a callback of the Trainer, the weighting, balances them. Import"
    " weightings from `lightning_mtl.callbacks`. `lightning-mtl` is the command line."
)


def index(app: Sphinx) -> str:
    """The text of `llms.txt`: each page with its source as plain Markdown and what it is about."""
    lines = ["# lightning_mtl", "", f"> {SUMMARY}"]
    for heading, starts in GROUPS.items():
        pages = sorted(name for name in app.env.found_docs if name.startswith(starts))
        lines += ["", f"## {heading}", ""]
        lines += [_line(app, name) for name in pages]
    return "\n".join(lines) + "\n"


def write_index(app: Sphinx, error: Exception | None) -> None:
    """Write the index and complete the sources. Called by Sphinx when the site is built."""
    if error is None and app.builder.name in ("html", "dirhtml"):
        (Path(app.outdir) / "llms.txt").write_text(index(app), encoding="utf-8")
        for name in sorted(app.env.found_docs):
            complete(Path(app.outdir) / "_sources" / f"{name}.md.txt")


def complete(file: Path) -> None:
    """Put into the source of a page, beside the HTML, what that shows in the places of marks."""
    write(file, with_scales(file.read_text(encoding="utf-8")))


def _line(app: Sphinx, name: str) -> str:
    title = app.env.titles[name].astext()
    paragraph = next(iter(app.env.get_doctree(name).findall(nodes.paragraph)), None)
    about = " ".join(paragraph.astext().split()) if paragraph else ""
    return f"- [{title}](_sources/{name}.md.txt): {about}"
