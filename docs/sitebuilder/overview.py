"""The overview of all weightings, and the page about the arguments that they share."""

from pathlib import Path

from lightning_mtl.callbacks import GramianWeighting, LossWeighting, Weighting
from lightning_mtl.catalogue import citations, price, summary, weightings
from sitebuilder.badges import badges
from sitebuilder.cards import card
from sitebuilder.files import DOCS, template, write
from sitebuilder.method_pages import arguments, linked
from sitebuilder.properties import SAMPLES

FOLDER = DOCS / "methods"
HEADINGS = {"From the losses": True, "From the gradients": False}
TOPICS = ("scale", "conflict", "stationary", "fsdp", "memory")
PREFIXES = ("FSDP: ", "memory: ", "scale: ")


def write_overview(folder: Path = FOLDER) -> list[Path]:
    """Write the overview and the page of common arguments, and return their files."""
    files = [folder / "index.md", folder / "arguments.md"]
    for file, text in zip(files, (overview(), common_arguments()), strict=True):
        write(file, text)
    return files


def overview() -> str:
    """Tables of all weightings, and what their badges mean, in MyST Markdown."""
    groups = {
        heading: [_row(kind) for kind in weightings() if issubclass(kind, LossWeighting) == losses]
        for heading, losses in HEADINGS.items()
    }
    return template(
        "methods.md.jinja",
        groups=groups,
        properties=[_properties(kind) for kind in weightings()],
        names=[kind.__name__ for kind in weightings()],
        samples=SAMPLES,
    )


def common_arguments() -> str:
    """The arguments of the bases, of which weightings have those of their own base."""
    bases = {
        "All weightings": Weighting,
        "Weightings on inner products of the task gradients": GramianWeighting,
    }
    return template(
        "arguments.md.jinja",
        groups={heading: arguments(base, card(base)) for heading, base in bases.items()},
        names=[
            kind.__name__
            for kind in weightings()
            if issubclass(kind, GramianWeighting) and "shared" in kind.places
        ],
    )


def _row(kind: type[Weighting]) -> tuple[str, ...]:
    name = kind.__name__
    return (f"[{name}]({name}.md)", linked(summary(kind), name), citations(kind), price(kind))


def _properties(kind: type[Weighting]) -> tuple[str, ...]:
    found = {badge.topic: badge.text for badge in badges(kind)}
    texts = [found.get(topic, "") for topic in TOPICS]
    for prefix in PREFIXES:
        texts = [text.removeprefix(prefix) for text in texts]
    return (f"[{kind.__name__}]({kind.__name__}.md)", *texts)
