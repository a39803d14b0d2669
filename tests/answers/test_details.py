"""Sentences on pairs of methods, tasks and ranks."""

from lightning_mtl.answers.answer import answer
from lightning_mtl.answers.details import details
from lightning_mtl.answers.records import Measure
from tests.answers.examples import SIX, planted

MANY = tuple(Measure(f"label {index}", f"val/label {index}/F1", True) for index in range(12))


def test_methods_are_compared_with_each_other_as_well() -> None:
    found = details(answer(planted()))
    assert found[0] == "`a`, `b` and `c` are better than `worse`."
    assert found[1] == (
        "In segmentation mIoU alone, `planted` is better than `equal`; `worse` is worse than"
        " `equal`."
    )


def test_a_metric_that_should_be_low_is_better_when_lower() -> None:
    found = details(answer(planted({"equal": 0.0, "planted": 0.1})))
    assert "In depth RMSE alone, `planted` is better than `equal`." in found


def test_of_many_tasks_the_methods_count_theirs() -> None:
    found = details(answer(planted({"equal": 0.0, "planted": 0.1, "worse": -0.1}, measures=MANY)))
    assert (
        "Of 12 tasks, compared with `equal`: `planted` is better in 12 and worse in 0; `worse` is"
        " better in 0 and worse in 12."
    ) in found


def test_of_many_tasks_without_a_reference_all_methods_count_theirs() -> None:
    results = planted({"one": 0.0, "two": 0.1}, measures=MANY, reference=None)
    assert (
        "Of 12 tasks, compared with others: `one` is better in 0 and worse in 12; `two` is better"
        " in 12 and worse in 0."
    ) in details(answer(results))


def test_of_noise_nothing_is_told_but_that() -> None:
    tasks, ranks = details(answer(planted(dict.fromkeys(SIX, 0.0))))
    assert tasks == "In no single task is a difference larger than the noise."
    assert ranks.startswith("The mean ranks over 5 seeds do not differ significantly (Friedman's")


def test_one_seed_has_no_details() -> None:
    assert details(answer(planted(seeds=1))) == []


def test_without_a_score_the_tasks_still_speak() -> None:
    found = answer(planted({"one": 0.0, "two": 0.1}, reference=None, single_tasks={}))
    assert "In depth RMSE alone, `two` is better than `one`." in details(found)
