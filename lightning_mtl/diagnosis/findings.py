"""What the estimates amount to: findings, each with its numbers in a sentence."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from lightning_mtl.diagnosis.estimates import Estimates
from lightning_mtl.diagnosis.record import Record
from lightning_mtl.diagnosis.wording import factor, interval, listed, number, percent
from lightning_mtl.statistics import Interval

Kind = Literal["non-finite", "unshared", "dead", "dominated", "conflict", "scales", "noise"]

DOMINANT = 3.0
"""A dominating task has this many times the norm of the mean of the others, at least."""

DROWNED = 0.2
"""A dominated task has less than this part of an equal share."""

APART = 10.0
"""Losses that differ by this factor are on mismatched scales."""

NOISY = 10.0
"""A noise-limited task has a critical batch size this many times as large as the batch."""


class Finding(NamedTuple):
    """Something that was found.

    Attributes:
        kind: what it is.
        tasks: that it is about.
        text: a sentence with the numbers.
    """

    kind: Kind
    tasks: tuple[str, ...]
    text: str


def find(record: Record, estimates: Estimates) -> list[Finding]:
    """All findings, those that make others worthless first.

    Args:
        record: of a short run.
        estimates: from that record.
    """
    return [
        *_not_finite(record),
        *_unshared(record, estimates),
        *_dead(estimates),
        *_dominated(estimates.shares),
        *_conflicts(estimates),
        *_scales(record, estimates),
        *_noise(estimates),
    ]


def _not_finite(record: Record) -> Iterator[Finding]:
    for event in record.events:
        yield Finding(
            "non-finite",
            (event.task,),
            f"The {event.where} of `{event.task}` is not finite at step {event.step}; the run"
            " ended there, and all numbers are of the steps before.",
        )


def _unshared(record: Record, estimates: Estimates) -> Iterator[Finding]:
    if record.shared or record.events or len(estimates.alive) < 2:
        return
    yield Finding(
        "unshared",
        record.tasks,
        "The tasks share no trainable parameters, so that there is nothing to balance.",
    )


def _dead(estimates: Estimates) -> Iterator[Finding]:
    for task, reason in estimates.dead.items():
        yield Finding("dead", (task,), f"`{task}` is dead: {reason}.")


def _dominated(shares: Mapping[str, Interval]) -> Iterator[Finding]:
    tasks = len(shares)
    if tasks < 2:
        return
    # A share of r / (r + K - 1) is r times the mean norm of the others.
    high = max(DOMINANT / (DOMINANT + tasks - 1), 0.5)
    equal = f"an equal share is {percent(1 / tasks)}"
    for task, share in shares.items():
        if share.low > high:
            others = tuple(other for other in shares if other != task)
            yield Finding(
                "dominated",
                (task, *others),
                f"`{task}` dominates: it has {interval(share, percent)} of the summed norms of the"
                f" averaged gradients ({equal}), and {listed(others)}"
                f" {'is' if len(others) == 1 else 'are'} dominated.",
            )
            return
    for task, share in shares.items():
        if share.high < DROWNED / tasks:
            yield Finding(
                "dominated",
                (task,),
                f"`{task}` is dominated by the others: it has {interval(share, percent)} of the"
                f" summed norms of the averaged gradients ({equal}).",
            )


def _conflicts(estimates: Estimates) -> Iterator[Finding]:
    for pair in estimates.pairs:
        if pair.conflicts:
            one, other = pair.tasks
            yield Finding(
                "conflict",
                pair.tasks,
                f"`{one}` and `{other}` are in conflict: the cosine of their averaged gradients is"
                f" {interval(pair.cosine, number)}, below zero.",
            )


def _scales(record: Record, estimates: Estimates) -> Iterator[Finding]:
    sizes = {task: record.losses.typical(task) for task in estimates.alive}
    sizes = {task: size for task, size in sizes.items() if size > 0}
    if len(sizes) < 2:
        return
    largest, smallest = max(sizes, key=sizes.__getitem__), min(sizes, key=sizes.__getitem__)
    ratio = sizes[largest] / sizes[smallest]
    if ratio < APART:
        return
    text = (
        f"The losses are on mismatched scales: {number(sizes[largest])} of `{largest}` and"
        f" {number(sizes[smallest])} of `{smallest}` are {math.log10(ratio):.1f} orders of"
        " magnitude apart."
    )
    norms = _norms(estimates.shares, (largest, smallest))
    if norms is not None:
        text += f" Their gradients, which training follows, differ by a factor of {factor(norms)}."
    yield Finding("scales", (largest, smallest), text)


def _norms(shares: Mapping[str, Interval], tasks: Sequence[str]) -> float | None:
    """The ratio of the gradient norms of two tasks; `None` if one is not known."""
    one, other = (shares[task].mean for task in tasks)
    return max(one / other, other / one) if min(one, other) > 0 else None


def _noise(estimates: Estimates) -> Iterator[Finding]:
    for task, critical in estimates.critical_batches.items():
        if critical.low > NOISY * estimates.samples:
            yield Finding(
                "noise",
                (task,),
                f"`{task}` is noise-limited: its critical batch size is at least"
                f" {number(critical.low)} samples, and a step has {number(estimates.samples)}.",
            )
