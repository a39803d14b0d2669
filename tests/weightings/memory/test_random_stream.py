"""The random numbers of a weighting."""

import lightning as L
import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import GradDrop, GradVac, PCGrad, RandomWeighting
from lightning_mtl.weightings.memory import random_stream
from lightning_mtl.weightings.memory.random_stream import RandomStream
from lightning_mtl.weightings.memory.task_memory import TaskMemory
from tests.support.toy import Toy, parameters, quiet_trainer, toy_loader


def numbers(seed: int, count: int) -> Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(seed))


def test_peeking_does_not_move_on_and_drawing_does() -> None:
    stream = RandomStream(TaskMemory(), 5)
    expected = torch.rand(6, generator=torch.Generator().manual_seed(5))
    for position in range(0, 6, 2):
        for _ in range(2):
            peeked = torch.rand(2, generator=stream.peek())
            assert torch.equal(peeked, expected[position : position + 2])
        with stream.drawing() as generator:
            torch.rand(2, generator=generator)


def test_no_seed_is_the_seed_of_the_global_generator_at_the_first_draw() -> None:
    torch.manual_seed(11)
    torch.rand(4)  # what has been drawn from it does not matter
    stream = RandomStream(TaskMemory(), None)
    assert torch.equal(torch.rand(3, generator=stream.peek()), numbers(11, 3))
    torch.manual_seed(12)
    with stream.drawing() as generator:
        assert torch.equal(torch.rand(3, generator=generator), numbers(11, 3))
    with RandomStream(TaskMemory(), None).drawing() as generator:
        assert torch.equal(torch.rand(3, generator=generator), numbers(12, 3))


def test_a_checkpoint_of_before_the_first_draw_keeps_the_seed() -> None:
    memory, resumed = TaskMemory(), TaskMemory()
    stream, other = RandomStream(memory, None), RandomStream(resumed, None)
    torch.manual_seed(11)
    stream.peek()
    torch.manual_seed(12)
    resumed.load_state_dict(memory.state_dict())
    assert torch.equal(torch.rand(3, generator=other.peek()), numbers(11, 3))


def test_every_rank_takes_the_seed_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_stream, "from_first_rank", lambda seed: 5)
    for seed, expected in ((None, 5), (7, 7)):
        stream = RandomStream(TaskMemory(), seed)
        assert torch.equal(torch.rand(3, generator=stream.peek()), numbers(expected, 3))


@pytest.mark.parametrize("weighting", [GradDrop, GradVac, PCGrad, RandomWeighting])
def test_repetitions_with_another_global_seed_draw_other_numbers(weighting: type) -> None:
    trained = []
    for seed in (1, 2, 1):
        module = Toy()
        L.seed_everything(seed, verbose=False)
        quiet_trainer(callbacks=[weighting()], max_steps=10).fit(module, toy_loader())
        trained.append(parameters(module))
    first, other, again = trained
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_seeds_differ_from_draw_to_draw_and_from_stream_to_stream() -> None:
    streams = [RandomStream(TaskMemory(), seed) for seed in range(2)]
    seeds = [stream.draw_seed() for stream in streams for _ in range(10)]
    assert len(set(seeds)) == 20
