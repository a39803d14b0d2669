"""On two ranks, the mixture is one and the samples are shared."""

import pytest

from tests.support.ddp_mixture import two_ranks


@pytest.mark.slow
def test_ranks_have_one_mixture_and_samples_of_their_own() -> None:
    first, second = two_ranks()
    assert first["state"] == second["state"]
    assert first["shared"] == second["shared"]
    weights = first["state"]["sampler"]["weights"]
    assert weights["one"] > 0.55
    compositions = []
    for mine, others in zip(first["seen"], second["seen"], strict=True):
        assert {task: len(part) for task, part in mine.items()} == {
            task: len(part) for task, part in others.items()
        }
        compositions.append(len(mine["one"]))
    assert len(set(compositions)) > 1
    for task in ("one", "two"):
        drawn = [
            tuple(x) for rank in (first, second) for batch in rank["seen"] for x in batch[task]
        ]
        assert len(set(drawn)) == len(drawn)
