"""The tables of a diagnosis, as text in cells: tasks, pairs of tasks and prices."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from lightning_mtl.diagnosis.doctor import Diagnosis
from lightning_mtl.diagnosis.gradients import Pair
from lightning_mtl.diagnosis.wording import interval, number, percent

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
    return "aligned" if pair.agrees else "unclear"


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
