import torch

from lightning_mtl.callbacks import RandomWeighting
from tests.support.presence import set_present


def test_weights_are_drawn_anew_for_every_optimizer_step_only() -> None:
    weighting = RandomWeighting(seed=4)
    losses = torch.ones(3)
    generator = torch.Generator().manual_seed(4)
    for _ in range(5):
        expected = torch.softmax(torch.randn(3, generator=generator), 0)
        for _ in range(2):  # micro-batches of one step
            assert torch.equal(weighting.weights(losses), expected)
        weighting.update(losses)


def test_the_weight_of_a_task_does_not_depend_on_who_else_is_there() -> None:
    all_there, one_absent = RandomWeighting(), RandomWeighting()
    for weighting, present in ((all_there, [0, 1, 2]), (one_absent, [0, 2])):
        weighting.tasks = ("a", "b", "c")
        set_present(weighting, present)
    for _ in range(3):
        whole, part = all_there.weights(torch.ones(3)), one_absent.weights(torch.ones(2))
        torch.testing.assert_close(part, whole[[0, 2]] / whole[[0, 2]].sum())
        all_there.update(torch.ones(3))
        one_absent.update(torch.ones(2))


def test_a_saved_state_continues_with_the_next_draw() -> None:
    """L5."""
    whole, resumed = RandomWeighting(), RandomWeighting()
    losses = torch.ones(4)
    for _ in range(3):
        whole.update(losses)
    resumed.load_state_dict(whole.state_dict())
    torch.rand(7)  # of the global generator: nothing to it
    assert torch.equal(resumed.weights(losses), whole.weights(losses))


def test_the_mean_weight_is_that_of_equal_weighting() -> None:
    weighting = RandomWeighting()
    losses = torch.ones(4)
    total = torch.zeros(4)
    for _ in range(2000):
        total += weighting.weights(losses)
        weighting.update(losses)
    torch.testing.assert_close(total / 2000, torch.full((4,), 0.25), atol=0.02, rtol=0)
