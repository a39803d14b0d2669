"""The report of a diagnosis: as tables of at most 80 columns, as Markdown and as JSON."""

import math
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightning_mtl.diagnosis.doctor import Diagnosis
from lightning_mtl.diagnosis.sheets import sheets
from lightning_mtl.diagnosis.wording import number

WIDTH = 80
"""The most columns that a table takes."""


def show(diagnosis: Diagnosis, console: Console) -> None:
    """Print the report.

    Args:
        diagnosis: of a run.
        console: where to.
    """
    width = min(WIDTH, console.width)
    console.print(escape(headline(diagnosis)), width=width)
    for sheet in sheets(diagnosis):
        table = Table(title=sheet.title, title_justify="left", width=None)
        for index, name in enumerate(sheet.columns):
            table.add_column(name, justify="right" if index else "left", overflow="fold")
        for row in sheet.rows:
            table.add_row(*map(escape, row))
        console.print()
        console.print(table, width=width)
        if sheet.note:
            console.print(escape(sheet.note), width=width)
    for title, lines in sections(diagnosis):
        console.print(f"\n[bold]{title}[/bold]")
        for line in lines:
            console.print(f"* {escape(line)}", width=width, highlight=False)


def markdown(diagnosis: Diagnosis) -> str:
    """The whole report as a Markdown document, for a file beside the terminal."""
    parts = ["# What the run tells about its tasks", headline(diagnosis)]
    for sheet in sheets(diagnosis):
        marks = tuple("---" if not index else "---:" for index in range(len(sheet.columns)))
        lines = ["| " + " | ".join(row) + " |" for row in (sheet.columns, marks, *sheet.rows)]
        parts += [f"## {sheet.title}", "\n".join(lines), *([sheet.note] if sheet.note else [])]
    for title, lines in sections(diagnosis):
        parts += [f"## {title}", "\n".join(f"* {line}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """The numbers, findings and suggestions, with `null` for what is unknown or infinite."""
    estimates = diagnosis.estimates
    return {
        "steps": diagnosis.record.steps,
        "samples": _finite(estimates.samples),
        "shared_parameters": diagnosis.record.shared,
        "tasks": {
            task: {
                "loss": _finite(diagnosis.record.losses.typical(task)),
                "presence": float(presence),
                "share": _ends(estimates.shares.get(task)),
                "critical_batch": _ends(estimates.critical_batches.get(task)),
            }
            for task, presence in zip(
                diagnosis.record.tasks, diagnosis.record.losses.presence, strict=True
            )
        },
        "pairs": [
            {"tasks": list(pair.tasks), "cosine": _ends(pair.cosine), "conflict": pair.conflicts}
            for pair in estimates.pairs
        ],
        "prices": [
            {
                "family": price.family.name,
                "weighting": price.family.member,
                "time_quartiles": price.quartiles and list(price.quartiles),
                "memory": price.memory,
                "refusal": price.refusal or None,
            }
            for price in diagnosis.prices
        ],
        "findings": [finding._asdict() for finding in diagnosis.findings],
        "suggestions": [suggestion._asdict() for suggestion in diagnosis.suggestions],
    }


def headline(diagnosis: Diagnosis) -> str:
    """What was examined, in a sentence."""
    record, estimates = diagnosis.record, diagnosis.estimates
    samples = "" if math.isnan(estimates.samples) else f" of {number(estimates.samples)} samples"
    return (
        f"Examined {record.steps} steps{samples}: {len(record.tasks)} tasks, which share"
        f" {record.shared:,} parameters. Estimates are from {estimates.measurements} measurements"
        " after the first tenth of the steps, with 95 % intervals."
    )


def sections(diagnosis: Diagnosis) -> list[tuple[str, list[str]]]:
    """The findings and the suggestions, each a title and its lines."""
    findings = [finding.text for finding in diagnosis.findings]
    suggestions = [
        f"{each.text} Reason: {each.reason}" + (f" Add: {each.option}" if each.option else "")
        for each in diagnosis.suggestions
    ]
    return [
        ("Findings", findings or ["Nothing is wrong that these numbers could show."]),
        ("Suggestions", suggestions),
    ]


def _ends(estimate: Any) -> dict[str, float | None] | None:
    if estimate is None:
        return None
    names = ("mean", "low", "high")
    return {name: _finite(value) for name, value in zip(names, estimate[:3], strict=True)}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
