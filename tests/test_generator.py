import torch

from lightning_mtl.generator import draw_seed, drawing, peek
from lightning_mtl.state import TaskState


def test_peeking_does_not_move_on_and_drawing_does() -> None:
    state = TaskState()
    expected = torch.rand(6, generator=torch.Generator().manual_seed(5))
    for position in range(0, 6, 2):
        for _ in range(2):
            peeked = torch.rand(2, generator=peek(state, 5))
            assert torch.equal(peeked, expected[position : position + 2])
        with drawing(state, 5) as generator:
            torch.rand(2, generator=generator)


def test_seeds_differ_from_draw_to_draw_and_from_stream_to_stream() -> None:
    states = TaskState(), TaskState()
    seeds = [draw_seed(state, seed) for seed, state in enumerate(states) for _ in range(10)]
    assert len(set(seeds)) == 20
