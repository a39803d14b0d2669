"""What to do about findings: at most two things, each with its reason."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from lightning_mtl.diagnosis.estimates import Estimates
from lightning_mtl.diagnosis.families import PLACES, takes_place, told_by
from lightning_mtl.diagnosis.findings import Finding, Kind
from lightning_mtl.diagnosis.prices import Price
from lightning_mtl.diagnosis.wording import factor, listed

MOST = 2
"""How many suggestions are made."""

OPPOSED = -0.1
"""A pair whose cosine is above this is in too slight a conflict to act upon."""

DEAR = 1.5
"""Exact gradients that make a step this many times as long are not suggested if others are."""

MOST_ACCUMULATED = 8
"""Into how many batches of a step a suggestion goes."""

BALANCES_NORMS, AVOIDS_CONFLICT = "gradient norms", "conflict"
"""Words of the catalogue by which weightings for a finding are known."""


class Suggestion(NamedTuple):
    """What to do, and why.

    Attributes:
        text: what to do.
        reason: the finding that it follows from.
        option: what to add to the command line; empty if nothing is to be added.
    """

    text: str
    reason: str
    option: str = ""


def suggest(
    findings: Sequence[Finding], estimates: Estimates, prices: Sequence[Price] = ()
) -> list[Suggestion]:
    """At most two suggestions; that equal weights are enough is one of them.

    Args:
        findings: of the run.
        estimates: that they come from.
        prices: of the families of weightings; the cheapest good place of gradients is chosen by
            them.
    """
    return list(islice(_all(findings, estimates, prices), MOST))


def _all(
    findings: Sequence[Finding], estimates: Estimates, prices: Sequence[Price]
) -> Iterator[Suggestion]:
    """All suggestions that the findings give rise to, the most urgent first."""
    for finding in _of("non-finite", findings):
        yield Suggestion(
            f"First find out why the numbers of {listed(finding.tasks)} break: look at its labels"
            " and its loss, and try a lower learning rate. Balance the tasks afterwards.",
            finding.text,
        )
    if _of("non-finite", findings):
        return
    if dead := _of("dead", findings):
        yield _revive(dead)
    for finding in _of("unshared", findings):
        yield Suggestion("No weighting is needed.", finding.text)
        return
    unequal = _of("dominated", findings)
    if unequal:
        yield _even_out(unequal[0])
    opposed = _opposed(findings, estimates)
    if opposed is not None:
        yield _reconcile(opposed, prices)
    elif unequal:
        yield _balance_norms(unequal[0])
    noisy = _of("noise", findings)
    if noisy:
        yield _accumulate(noisy[0], estimates)
    if not (unequal or opposed) and len(estimates.alive) > 1:
        yield _equal_weights(_of("scales", findings))


def _of(kind: Kind, findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.kind == kind]


def _opposed(findings: Sequence[Finding], estimates: Estimates) -> Finding | None:
    """The strongest conflict that is worth acting upon."""
    cosines = {pair.tasks: pair.cosine.mean for pair in estimates.pairs}
    found = _of("conflict", findings)
    worst = min(found, key=lambda finding: cosines.get(finding.tasks[:2], 0.0), default=None)  # type: ignore[arg-type, call-overload]
    return worst if worst and cosines[worst.tasks[:2]] < OPPOSED else None  # type: ignore[index]


def _revive(findings: Sequence[Finding]) -> Suggestion:
    tasks = [finding.tasks[0] for finding in findings]
    do, them = ("does", "it") if len(tasks) == 1 else ("do", "them")
    return Suggestion(
        f"First see why {listed(tasks)} {do} not train: look at the labels, and at where a loss is"
        f" cut off from the network. No weighting helps {them}.",
        " ".join(finding.text for finding in findings),
    )


def _even_out(finding: Finding) -> Suggestion:
    return Suggestion(
        "Find fixed weights that even out the gradients, which cost nothing in training: run"
        " `lightning-mtl tune` with the same options, and add the config that it writes.",
        finding.text,
        "--config tuned.yaml",
    )


def _balance_norms(finding: Finding) -> Suggestion:
    names = told_by(BALANCES_NORMS)
    return Suggestion(
        "Or let a weighting keep the gradient norms balanced throughout the run.",
        finding.text,
        f"--weighting {names[0]}",
    )


def _reconcile(finding: Finding, prices: Sequence[Price]) -> Suggestion:
    place = _place(prices)
    names = [name for name in told_by(AVOIDS_CONFLICT) if takes_place(name, place)]
    others = f" Others of this kind are {listed(names[1:])}." if names[1:] else ""
    price = next((each for each in prices if each.family.place == place), None)
    cost = (
        f" A step then takes about {factor(price.quartiles[1])} times as long."
        if price and price.quartiles
        else ""
    )
    return Suggestion(
        f"Try a weighting that resolves conflicts, by the {PLACES[place]}.{cost}{others}",
        finding.text,
        f"--weighting {names[0]} --weighting.gradients {place}",
    )


def _place(prices: Sequence[Price]) -> str:
    """Where to measure gradients: exactly, unless that costs much and a cheaper place works."""
    times = {each.family.place: each.quartiles[1] for each in prices if each.quartiles}
    measured = [place for place in reversed(PLACES) if place in times]
    if not measured:
        return "shared"
    fitting = [place for place in measured if times[place] < DEAR]
    return fitting[0] if fitting else min(measured, key=times.__getitem__)


def _accumulate(finding: Finding, estimates: Estimates) -> Suggestion:
    critical = estimates.critical_batches[finding.tasks[0]].low
    batches = int(min(max(critical / estimates.samples, 2), MOST_ACCUMULATED))
    return Suggestion(
        "Take more samples for a step, if time allows: a larger batch, or gradient accumulation."
        " Averaging helps a noisy task more than any weight does.",
        finding.text,
        f"--trainer.accumulate_grad_batches {batches}",
    )


def _equal_weights(scales: Sequence[Finding]) -> Suggestion:
    if scales:
        return Suggestion(
            "Equal weights are enough: training follows the gradients, and these are balanced."
            " Avoid weightings that bring the losses to one size.",
            scales[0].text,
        )
    return Suggestion(
        "Equal weights are enough.",
        "No task clearly outweighs the others, and no pair of gradients is clearly opposed.",
    )
