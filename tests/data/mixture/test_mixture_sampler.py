"""The sampler alone: composition of batches, orders without replacement, ranks and its state."""

from collections import Counter

import lightning as L
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset

from lightning_mtl.data import MixtureSampler
from tests.support.toy import Toy, quiet_trainer

SIZES = {"one": 12, "two": 5, "three": 30}
OWNER = ["one"] * 12 + ["two"] * 5 + ["three"] * 30


def composition(batch: list[int]) -> dict[str, int]:
    """How many samples of each task a batch has."""
    return {task: sum(OWNER[index] == task for index in batch) for task in SIZES}


def of_task(batches: list[list[int]], task: str) -> list[int]:
    """The samples of a task in the order in which they were drawn."""
    return [index for batch in batches for index in batch if OWNER[index] == task]


def test_batches_have_the_shares_of_the_weights() -> None:
    sampler = MixtureSampler(SIZES, 10, {"one": 5, "two": 1, "three": 4})
    assert sampler.weights == {"one": 0.5, "two": 0.1, "three": 0.4}
    assert all(composition(batch) == sampler.counts for batch in sampler)
    assert sampler.counts == {"one": 5, "two": 1, "three": 4}


def test_weights_are_equal_unless_given() -> None:
    assert MixtureSampler(SIZES, 9).counts == {"one": 3, "two": 3, "three": 3}


def test_an_epoch_has_as_many_batches_as_all_samples_fill_or_as_was_asked() -> None:
    assert len(MixtureSampler(SIZES, 10)) == len(list(MixtureSampler(SIZES, 10))) == 4
    assert len(MixtureSampler(SIZES, 10, rank=0, ranks=2)) == 2
    assert (
        len(MixtureSampler(SIZES, 10, batches=7))
        == len(list(MixtureSampler(SIZES, 10, batches=7)))
        == 7
    )
    assert len(MixtureSampler({"one": 2}, 10)) == 1


def test_samples_are_drawn_without_replacement_until_all_were_drawn_then_shuffled_anew() -> None:
    sampler = MixtureSampler(SIZES, 7, {"one": 2, "two": 2, "three": 3})
    batches = [batch for _ in range(5) for batch in sampler]
    for task, size in SIZES.items():
        drawn = of_task(batches, task)
        rounds = [drawn[start : start + size] for start in range(0, len(drawn), size)]
        assert len(rounds) > 1
        assert all(len(set(each)) == len(each) for each in rounds)
        assert rounds[0] != rounds[1] or len(rounds[1]) < size
        assert set(rounds[0]) == {index for index, owner in enumerate(OWNER) if owner == task}


def test_orders_follow_the_seed_and_differ_between_tasks_of_one_size() -> None:
    sizes = {"one": 20, "two": 20}
    first, again, other = (list(MixtureSampler(sizes, 10, seed=seed)) for seed in (3, 3, 4))
    assert first == again != other
    assert [index % 20 for index in first[0][:5]] != [index % 20 for index in first[0][5:]]


def test_new_weights_hold_from_the_next_batch_on() -> None:
    sampler = MixtureSampler(SIZES, 6, batches=3)
    batches = iter(sampler)
    assert composition(next(batches)) == {"one": 2, "two": 2, "three": 2}
    sampler.weights = {"one": 4, "two": 1, "three": 1}
    assert composition(next(batches)) == {"one": 4, "two": 1, "three": 1}


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_what_one_rank_would_draw(ranks: int) -> None:
    weights = {"one": 1, "two": 1, "three": 2}
    alone = MixtureSampler(SIZES, 4 * ranks, weights, batches=5, ranks=1, rank=0)
    together = [
        list(MixtureSampler(SIZES, 4, weights, batches=5, rank=rank, ranks=ranks))
        for rank in range(ranks)
    ]
    for whole, *parts in zip(alone, *together, strict=True):
        assert all(composition(part) == {"one": 1, "two": 1, "three": 2} for part in parts)
        assert sorted(whole) == sorted(index for part in parts for index in part)


def test_a_state_goes_on_in_any_epoch_and_on_any_rank() -> None:
    sampler = MixtureSampler(SIZES, 7, {"one": 1, "two": 2, "three": 4}, batches=4)
    list(sampler)
    batches = iter(sampler)
    next(batches)
    state = sampler.state_dict()
    resumed = MixtureSampler(SIZES, 7, batches=3)
    resumed.load_state_dict(state)
    assert list(resumed) == list(batches)
    assert resumed.weights == sampler.weights


def test_batches_that_are_put_back_are_drawn_again() -> None:
    sampler = MixtureSampler(SIZES, 7)
    sampler.draw()
    before, counts = sampler.state_dict(), sampler.counts
    batches = [sampler.draw() for _ in range(5)]
    assert sampler.state_dict([counts] * 5) == before
    sampler.put_back([counts] * 5)
    assert [sampler.draw() for _ in range(5)] == batches


def test_visits_count_how_often_a_sample_was_drawn() -> None:
    sampler = MixtureSampler({"one": 3, "two": 50}, 4)
    seen: Counter[int] = Counter()
    for _ in range(9):
        for index, number in sampler.draw():
            assert number == seen[index]
            seen[index] += 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": {}}, "should name at least one task"),
        ({"sizes": {"one": 0}}, r'sizes\["one"\]=\)` should be at least 1'),
        ({"batch_size": 0}, r"batch_size=\)` should be at least 1"),
        ({"batch_size": 2}, r"batch_size=\)` should be at least 3, for 1 of each task. Found 2"),
        ({"least": -1}, r"least=\)` should be at least 0"),
        ({"least": 3}, r"batch_size=\)` should be at least 9, for 3 of each"),
        ({"batches": 0}, r"batches=\)` should be at least 1"),
        ({"weights": {"one": 1}}, "weights of `MixtureSampler` should name the tasks"),
        ({"rank": 1}, r"rank=, ranks=\)` should be"),
        ({"rank": 2, "ranks": 2}, r"rank=, ranks=\)` should be a number below"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_arguments_that_make_no_batches_are_errors(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MixtureSampler(**({"sizes": SIZES, "batch_size": 8} | arguments))


def test_a_state_of_other_tasks_is_an_error() -> None:
    state = MixtureSampler({"one": 4, "four": 4}, 4).state_dict()
    with pytest.raises(ValueError, match=r"go on from a state of the tasks .*Found one of"):
        MixtureSampler(SIZES, 8).load_state_dict(state)


def test_lightning_refuses_to_replace_it_where_a_plain_loader_has_it(monkeypatch) -> None:
    """On several ranks; `MixtureLoader` needs no setting."""
    data = ConcatDataset([TensorDataset(torch.zeros(size, 6)) for size in SIZES.values()])
    loader = DataLoader(data, batch_sampler=MixtureSampler(SIZES, 8))
    connector = quiet_trainer()._data_connector
    monkeypatch.setattr(
        type(connector.trainer._accelerator_connector), "is_distributed", property(lambda _: True)
    )
    kept = connector.trainer
    kept.strategy._lightning_module = Toy()
    monkeypatch.setattr(
        L.Trainer, "distributed_sampler_kwargs", property(lambda _: {"num_replicas": 2, "rank": 0})
    )
    with pytest.raises(TypeError, match="use_distributed_sampler=False"):
        connector._prepare_dataloader(loader, shuffle=True, mode=None)
