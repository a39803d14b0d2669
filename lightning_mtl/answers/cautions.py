"""What a reader has to know before believing an answer: gaps, and how the numbers were found."""

from lightning_mtl.answers.answer import Answer
from lightning_mtl.answers.cells import listed
from lightning_mtl.answers.phrases import percent

FEW_SEEDS = 3
"""With fewer, an interval is so wide, or missing, that little can be told."""


def cautions(answer: Answer) -> list[str]:
    """Sentences on what is missing or uncertain; none if nothing is."""
    sentences = []
    if answer.missing:
        runs = "1 planned run has" if answer.missing == 1 else f"{answer.missing} planned runs have"
        sentences.append(f"{runs} not finished: the answer may change.")
    few = [each.method for each in answer.methods if len(each.runs) < FEW_SEEDS]
    if few:
        names = "all methods" if len(few) == len(answer.methods) else listed(few)
        sentences.append(
            f"There are fewer than {FEW_SEEDS} usable seeds of {names}. Their intervals are wide or"
            " missing: run more seeds before choosing by them."
        )
    if answer.excluded:
        sentences += answer.excluded
        sentences.append(
            "Means leave such runs out, which flatters these methods. Their ranks do not: such a"
            " run is the last of its seed."
        )
    ranked = answer.ranking.ranks if answer.ranking is not None else {}
    unranked = [each.method for each in answer.methods if each.method not in ranked]
    if unranked and ranked:
        sentences.append(
            f"Not ranked, since fewer than half of the seeds have finished: {listed(unranked)}."
        )
    return sentences


def statistics_used(answer: Answer) -> list[str]:
    """Sentences on how the numbers were computed, for the end of a report."""
    level = percent(answer.level)
    sentences = [
        f"Numbers are means over seeds with {level} intervals (Student's t); one seed has none.",
        "A difference is larger than the noise if Welch's t-test says so after Holm's correction"
        " for all pairs or, where methods are compared with the reference, for all methods."
        " Tests within single tasks are also corrected for the number of tasks.",
    ]
    if answer.score is not None:
        sentences.append(answer.score.meaning)
        sentences.append(
            "Its baselines are taken as fixed: their own noise, which moves all methods together,"
            " is in no interval."
        )
    if answer.ranking is not None:
        sentences.append(
            "Within each seed, methods are ranked by their mean rank over the tasks. Mean ranks"
            " over the seeds that lie less than the critical difference apart (Nemenyi; Demšar,"
            " JMLR 2006) are not distinguishable, and none are if Friedman's test finds no"
            " difference."
        )
    return sentences
