"""The report of a diagnosis: as tables of at most 80 columns, as Markdown and as JSON."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightning_mtl.diagnosis.doctor import Diagnosis
from lightning_mtl.diagnosis.gradients import Pair
from lightning_mtl.diagnosis.wording import interval, number, percent

WIDTH = 80
"""The most columns that a table takes."""

FEW = 6
"""Up to how many tasks every pair is shown; of more, only the extreme ones."""

EXTREME = 5
"""How many pairs are shown from either end."""


class Sheet(NamedTuple):
    """A table.

    Attributes:
        title: above it.
        columns: their names; the first is aligned left.
        rows: as many cells as there are columns.
        note: what the numbers mean, below it.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def sheets(diagnosis: Diagnosis) -> list[Sheet]:
    """The tables of tasks, pairs and prices; those without rows are left out."""
    every = [_tasks(diagnosis), _pairs(diagnosis), _prices(diagnosis)]
    return [sheet for sheet in every if sheet.rows]


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
    """The report as Markdown."""
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


def _tasks(diagnosis: Diagnosis) -> Sheet:
    losses, estimates = diagnosis.record.losses, diagnosis.estimates
    rows = []
    for task in losses.tasks:
        share, critical = estimates.shares.get(task), estimates.critical_batches.get(task)
        rows.append(
            (
                task,
                number(losses.typical(task)),
                interval(share, percent) if share else "-",
                interval(critical, number) if critical else "-",
            )
        )
    note = (
        "Share: of the summed norms of the averaged gradients, at the weights of the run. Critical"
        " batch: the number of samples at which noise and signal of a gradient are equal."
    )
    return Sheet("Tasks", ("task", "loss", "share of gradients", "critical batch"), rows, note)


def _pairs(diagnosis: Diagnosis) -> Sheet:
    shown = _extreme(diagnosis.estimates.pairs, len(diagnosis.estimates.alive))
    rows = [
        (
            " / ".join(pair.tasks),
            interval(pair.cosine, lambda value: f"{value:.2f}"),
            _verdict(pair),
        )
        for pair in shown
    ]
    notes = ["The intervals hold for all pairs together."] if len(rows) > 1 else []
    if any(math.isnan(pair.cosine.mean) for pair in shown):
        notes.append("Unknown: an averaged gradient does not stand out from its noise.")
    columns = ("pair", "cosine of averaged gradients", "they are")
    return Sheet("Pairs of tasks", columns, rows, " ".join(notes))


def _extreme(pairs: Sequence[Pair], tasks: int) -> list[Pair]:
    """The pairs to show, from the most opposed to the most aligned where there are many."""
    if tasks <= FEW:
        return list(pairs)
    known = [pair for pair in pairs if not math.isnan(pair.cosine.mean)]
    known.sort(key=lambda pair: pair.cosine.mean)
    return known if len(known) <= 2 * EXTREME else [*known[:EXTREME], *known[-EXTREME:]]


def _verdict(pair: Pair) -> str:
    if pair.conflicts:
        return "in conflict"
    return "aligned" if pair.cosine.low > 0 and pair.product.low > 0 else "unclear"


def _prices(diagnosis: Diagnosis) -> Sheet:
    rows: list[tuple[str, ...]] = []
    remarks: list[str] = []
    for price in diagnosis.prices:
        if price.refusal:
            remarks.append(f"{price.family.name}: not possible here. {price.refusal}")
            rows.append((price.family.name, price.family.member or "-", "-", "-"))
            continue
        assert price.quartiles is not None
        low, middle, high = (f"{each:.2f}" for each in price.quartiles)
        memory = "-" if price.memory is None else f"{price.memory:.2f}"
        rows.append(
            (price.family.name, price.family.member or "-", f"{middle} ({low} to {high})", memory)
        )
    note = "Relative to a step without a weighting: the median over rounds, and its quartiles."
    columns: tuple[str, ...] = ("a weighting by", "measured with", "time of a step", "memory")
    if all(price.memory is None for price in diagnosis.prices):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return Sheet("Price", columns, rows, " ".join([note, *remarks]))


def _ends(estimate: Any) -> dict[str, float | None] | None:
    if estimate is None:
        return None
    names = ("mean", "low", "high")
    return {name: _finite(value) for name, value in zip(names, estimate[:3], strict=True)}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
