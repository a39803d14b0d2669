"""Parts of sentences on an answer."""

from collections.abc import Iterable, Sequence

from lightning_mtl.answers.answer import Answer
from lightning_mtl.statistics import Difference

MOST = 5
"""How many methods a sentence names."""


def percent(level: float) -> str:
    """A level of confidence, such as `95 %`."""
    return f"{100 * level:g} %"


def seeds_text(answer: Answer) -> str:
    """How many seeds the methods have, such as `3 to 5 seeds`."""
    counts = {len(summary.runs) for summary in answer.methods}
    low, high = min(counts), max(counts)
    span = str(low) if low == high else f"{low} to {high}"
    return f"{span} seed{'' if high == 1 else 's'}"


def is_or_are(names: Sequence[str]) -> str:
    """The verb that goes with the names of methods."""
    return "is" if len(names) == 1 else "are"


def beaten_by(answer: Answer, method: str) -> list[str]:
    """The methods that are worse than one by more than the noise.

    A comparison with the reference is one of fewer than all pairs, and may find what these do not.
    """
    found = []
    for pair in (*answer.pairs, *answer.to_reference):
        better, worse = pair[:2] if pair.interval.mean > 0 else pair[1::-1]
        if pair.is_larger_than_noise and better == method and worse not in found:
            found.append(worse)
    return found


def split_by_sign(differences: Iterable[Difference]) -> tuple[list[Difference], list[Difference]]:
    """Those that are larger than the noise, upwards and downwards; the largest first."""
    found = [each for each in differences if each.is_larger_than_noise]
    found.sort(key=lambda each: -abs(each.interval.mean))
    above = [each for each in found if each.interval.mean > 0]
    return above, [each for each in found if each.interval.mean < 0]
