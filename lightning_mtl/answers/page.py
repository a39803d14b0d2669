"""An answer as documents: one self-contained HTML page, and Markdown."""

import re
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from lightning_mtl.answers.answer import Answer
from lightning_mtl.answers.cautions import cautions, statistics_used
from lightning_mtl.answers.details import details
from lightning_mtl.answers.phrases import percent, seeds_text
from lightning_mtl.answers.pictures import Picture
from lightning_mtl.answers.tables import (
    SINGLE,
    markdown,
    markdown_text,
    settings_grid,
    summary_grid,
    task_grid,
)
from lightning_mtl.answers.words import costs, verdict
from lightning_mtl.version import __version__

TEMPLATE = "page.html.jinja"
"""The file of the page, beside this one."""


def html(answer: Answer, pictures: Sequence[Picture]) -> str:
    """The report: one page that holds its pictures and needs no other file, script or network.

    Args:
        answer: what it says.
        pictures: of the same answer.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["marked"] = marked
    source = files("lightning_mtl.answers").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(source).render(
        answer=answer,
        cautions=cautions(answer),
        costs=costs(answer),
        details=details(answer),
        level=percent(answer.level),
        notes=[*answer.notes, *statistics_used(answer)],
        pictures=pictures,
        seeds=seeds_text(answer),
        settings=settings_grid(answer),
        single=SINGLE,
        summary=summary_grid(answer),
        tasks=task_grid(answer, answer.measures),
        verdict=verdict(answer),
        version=__version__,
    )


def markdown_page(answer: Answer) -> str:
    """The words and the tables in Markdown, for a README or an issue."""
    parts = {
        "": verdict(answer),
        "In detail": details(answer),
        "Cautions": cautions(answer),
        "Costs": costs(answer),
        "How this was made": [*answer.notes, *statistics_used(answer)],
        "Failed runs": list(answer.failed),
    }
    lists = {title: _bullets(sentences) for title, sentences in parts.items() if sentences}
    sections = [f"# {markdown_text(answer.name)}\n", lists.pop(""), markdown(answer)]
    sections += [f"## {title}\n\n{text}" for title, text in lists.items()]
    return "\n".join(sections)


def marked(sentence: str) -> Markup:
    """A sentence as HTML: escaped, and what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(sentence))))


def _bullets(sentences: Sequence[str]) -> str:
    return "".join(f"* {_escaped(sentence)}\n" for sentence in sentences)


def _escaped(sentence: str) -> str:
    """A sentence in which tags are none; what stands in backticks is none anyway."""
    parts = sentence.split("`")
    return "`".join(part if index % 2 else markdown_text(part) for index, part in enumerate(parts))
