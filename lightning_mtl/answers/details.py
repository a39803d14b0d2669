"""What the runs say in detail: on pairs of methods, on single tasks, and on ranks."""

import math

from lightning_mtl.answers.answer import Answer
from lightning_mtl.answers.cells import listed
from lightning_mtl.answers.phrases import MOST, beaten_by, is_or_are, split_by_sign
from lightning_mtl.answers.records import Measure

Names = list[tuple[str, str]]
"""Pairs of a method and the one that it is compared with."""


def details(answer: Answer) -> list[str]:
    """Sentences on pairs of methods, on single tasks and on ranks."""
    return [*_pairs(answer), *_tasks(answer), *_ranks(answer)]


def _pairs(answer: Answer) -> list[str]:
    """Which methods differ from each other, the reference aside; equal sets in one sentence.

    A method that is better than every other is left out: `verdict` names it.
    """
    winners: dict[tuple[str, ...], list[str]] = {}
    for winner in (summary.method for summary in answer.methods):
        beaten = beaten_by(answer, winner)
        others = tuple(name for name in beaten if name != answer.reference)
        if others and winner != answer.reference and len(beaten) < len(answer.methods) - 1:
            winners.setdefault(others, []).append(winner)
    return [
        f"{listed(names, MOST)} {is_or_are(names)} better than {listed(beaten, MOST)}."
        for beaten, names in winners.items()
    ]


def _tasks(answer: Answer) -> list[str]:
    """What differs in single tasks: a sentence for each or, for many tasks, for each method."""
    found = {
        measure.title: signed
        for measure in answer.measures
        if any(signed := _better_and_worse(answer, measure))
    }
    tests = [each for differences in answer.by_task.values() for each in differences]
    if all(math.isnan(each.p_value) for each in tests):
        return []
    if not found:
        return ["In no single task is a difference larger than the noise."]
    if len(found) <= MOST + 1:
        return [f"In {title} alone, {_told(answer, *each)}." for title, each in found.items()]
    counts = {
        summary.method: [
            sum(summary.method in [first for first, _ in each[side]] for each in found.values())
            for side in (0, 1)
        ]
        for summary in answer.methods
        if summary.method != answer.reference
    }
    parts = [
        f"`{name}` is better in {up} and worse in {down}" for name, (up, down) in counts.items()
    ]
    against = "others" if answer.reference is None else f"`{answer.reference}`"
    return [f"Of {len(answer.measures)} tasks, compared with {against}: {'; '.join(parts)}."]


def _better_and_worse(answer: Answer, measure: Measure) -> tuple[Names, Names]:
    """The methods that are better in one task by more than the noise, and those that are worse."""
    above, below = split_by_sign(answer.by_task[measure.task])
    if not measure.higher_is_better:
        above, below = below, above
    better, worse = ([(each.first, each.second) for each in found] for found in (above, below))
    if answer.reference is None:
        better = [*better, *((second, first) for first, second in worse)]
        worse = [(second, first) for first, second in better]
    return better, worse


def _told(answer: Answer, better: Names, worse: Names) -> str:
    if answer.reference is None:
        return "; ".join(f"`{first}` is better than `{second}`" for first, second in better)
    return "; ".join(
        f"{listed(names, MOST)} {is_or_are(names)} {word} than `{answer.reference}`"
        for word, pairs in (("better", better), ("worse", worse))
        if (names := [first for first, _ in pairs])
    )


def _ranks(answer: Answer) -> list[str]:
    found = answer.ranking
    if found is None or len(found.seeds) == 1:
        return []
    verb = "differ" if found.p_value <= 1 - answer.level else "do not differ"
    return [
        f"The mean ranks over {len(found.seeds)} seeds {verb} significantly"
        f" (Friedman's test: p = {found.p_value:.2g}; Nemenyi's critical difference:"
        f" {found.critical_difference:.2f})."
    ]
