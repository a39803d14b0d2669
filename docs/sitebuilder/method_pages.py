"""A page for every weighting, made from its class, its config and its trainings in the figure."""

import inspect
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lightning_mtl.callbacks import Weighting
from lightning_mtl.catalogue import citations, needs_arguments, price, weightings
from sitebuilder.badges import badges
from sitebuilder.calls import call
from sitebuilder.cards import Card, card
from sitebuilder.files import CONFIGS, DOCS, template, write
from sitebuilder.panels import course_of
from sitebuilder.prose import markdown

FOLDER = DOCS / "methods"
FORMULAS: dict[str, str] = yaml.safe_load(
    (Path(__file__).parent / "formulas.yaml").read_text(encoding="utf-8")
)


def write_method_pages(folder: Path = FOLDER) -> list[Path]:
    """Write the page of every weighting, and return their files."""
    files = [folder / f"{kind.__name__}.md" for kind in weightings()]
    for file, kind in zip(files, weightings(), strict=True):
        write(file, method_page(kind))
    return files


def method_page(kind: type[Weighting]) -> str:
    """The page of a weighting in MyST Markdown."""
    name, parts = kind.__name__, card(kind)
    config = configs()[name]
    settings = yaml.safe_load((CONFIGS / config).read_text(encoding="utf-8"))["weighting"]
    imports, made = call(settings if needs_arguments(kind) else {"class_path": name})
    return template(
        "method.md.jinja",
        name=name,
        summary=linked(parts.summary, name),
        badges=badges(kind),
        citations=citations(kind),
        formula=FORMULAS[name],
        description=[linked(text, name) for text in parts.description],
        facts={label: linked(text, name) for label, text in parts.facts.items()},
        course=course_of(name),
        config=config,
        config_text=(CONFIGS / config).read_text(encoding="utf-8").strip(),
        imports=imports,
        made=made,
        prompts=prompts(parts, name),
        example=parts.example,
        arguments=arguments(kind, parts),
        price=price(kind),
    )


def linked(text: str, own: str = "", folder: str = "") -> str:
    """A text of a docstring as Markdown, with links to the pages of weightings.

    Args:
        text: of a docstring.
        own: the weighting whose page it is for, which is not linked.
        folder: where the pages of weightings are, relative to the page that it is for.
    """
    return markdown(text, {kind.__name__ for kind in weightings()} - {own}, folder)


def arguments(kind: type, parts: Card) -> list[tuple[str, str, str]]:
    """Name, default as code and meaning of each argument that a docstring describes."""
    return [
        (name, _default(parameter.default), linked(parts.arguments[name], kind.__name__))
        for name, parameter in inspect.signature(kind).parameters.items()
        if name in parts.arguments and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]


def prompts(parts: Card, name: str) -> list[str]:
    """The imports that an example leaves to the module in which its docstring stands."""
    wanted = [f"from lightning_mtl.callbacks import {name}"]
    if re.search(r"\btorch\.", parts.example):
        wanted.insert(0, "import torch")
    return [line for line in wanted if f">>> {line}\n" not in parts.example]


@cache
def configs() -> dict[str, str]:
    """The config of each weighting, relative to the folder of configs, by the name of its class.

    Of several, it is the one with the shortest name: others add a variant to it.
    """
    files = sorted((CONFIGS / "weightings").glob("*.yaml"), key=lambda file: -len(file.name))
    return {
        yaml.safe_load(file.read_text(encoding="utf-8"))["weighting"]["class_path"]: (
            f"weightings/{file.name}"
        )
        for file in files
    }


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return ""
    return f'"{value}"' if isinstance(value, str) else repr(value)
