"""What the runs say in plain sentences: what is larger than the noise, and what it costs."""

import math
from collections.abc import Sequence

from lightning_mtl.answers.answer import Answer, MethodSummary
from lightning_mtl.answers.cells import listed, number
from lightning_mtl.answers.phrases import MOST, beaten_by, percent, seeds_text, split_by_sign
from lightning_mtl.statistics import Difference


def verdict(answer: Answer) -> list[str]:
    """Sentences on which methods are better on all tasks together, the most important first."""
    if answer.score is None:
        return list(answer.remarks)
    if all(math.isnan(pair.p_value) for pair in answer.pairs):
        return ["No difference can be tested: it takes two methods with several seeds each."]
    if any(each.is_larger_than_noise for each in (*answer.to_reference, *answer.pairs)):
        return [*_reference(answer), *_leader(answer)]
    nothing = f"No difference is larger than the noise over {seeds_text(answer)}."
    return [nothing, *_room(answer), *_leader(answer)]


def costs(answer: Answer) -> list[str]:
    """Sentences on the step time and the memory of the methods, relative to the reference."""
    sentences = []
    for title, name in (("step time", "step_time"), ("peak of memory", "memory")):
        found = {
            summary.method: ratio
            for summary in answer.methods
            if (ratio := getattr(summary, name)) is not None and summary.method != answer.reference
        }
        if not found:
            continue
        low, high = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
        span = f"{number(found[low])} times (`{low}`)"
        if low != high:
            span = f"from {span} to {number(found[high])} times (`{high}`)"
        sentences.append(f"The {title}, relative to `{answer.reference}`, is {span}.")
    return sentences or ["The costs were not measured."]


def _reference(answer: Answer) -> list[str]:
    """How the methods compare with the reference."""
    if not answer.to_reference:
        return []
    better, worse = split_by_sign(answer.to_reference)
    noise = f"than `{answer.reference}` by more than the noise over {seeds_text(answer)}"
    sentences = [] if better else [f"No method is better {noise}.", *_room(answer)]
    score = "" if answer.score is None else answer.score.name
    unit = f", in points of {score} with {percent(answer.level)} intervals"
    for word, found in (("Better", better), ("Worse", worse)):
        if found:
            amounts = [_amount(answer, each) for each in found[:MOST]]
            rest = f"; and {len(found) - MOST} more" if len(found) > MOST else ""
            sentences.append(f"{word} {noise}{unit}: {'; '.join(amounts)}{rest}.")
    return sentences


def _amount(answer: Answer, found: Difference) -> str:
    """A difference with its interval, and what the method costs."""
    mean, low, high, _ = found.interval
    decimals = 1 if found.interval.half_width >= 0.1 else 2
    ratio = answer.summary(found.first).step_time
    cost = "" if ratio is None else f"; {number(ratio)} times the step time"
    return (
        f"`{found.first}` {mean:+.{decimals}f} ({low:+.{decimals}f} to {high:+.{decimals}f}{cost})"
    )


def _room(answer: Answer) -> list[str]:
    """The largest gain over the reference that the runs do not exclude."""
    tested = [each for each in answer.to_reference if math.isfinite(each.interval.high)]
    if not tested:
        return []
    widest = max(tested, key=lambda each: each.interval.high)
    return [
        f"The {percent(answer.level)} intervals leave room for a gain over `{answer.reference}` of"
        f" up to {max(0.0, widest.interval.high):.1f} points (`{widest.first}`)."
    ]


def _leader(answer: Answer) -> list[str]:
    """The method with the best mean, those like it within the noise, and the cheapest of them."""
    scored = {each.method: each.score.mean for each in answer.methods if each.score is not None}
    if answer.score is None or len(scored) < 2:
        return []
    best = max(scored, key=scored.__getitem__)
    equals = [name for name in scored if name != best and name not in beaten_by(answer, best)]
    if not equals:
        return [f"`{best}` is better than every other method by more than the noise."]
    summaries = [answer.summary(name) for name in (best, *equals)]
    return [
        f"The best mean {answer.score.name} is that of `{best}`, not distinguishable"
        f" from {listed(equals, MOST)}.{_cheapest(summaries)}"
    ]


def _cheapest(summaries: Sequence[MethodSummary]) -> str:
    prices = {each.method: each.step_time for each in summaries if each.step_time is not None}
    if len(prices) < len(summaries):
        return ""
    name = min(prices, key=prices.__getitem__)
    return f" The cheapest of these is `{name}` ({number(prices[name])} times the step time)."
