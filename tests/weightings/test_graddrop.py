import pytest
import torch

from lightning_mtl.callbacks import GradDrop
from lightning_mtl.engine import jacobian
from tests.support.jacobians import random_jacobian


def test_every_parameter_follows_one_sign() -> None:
    rows = random_jacobian(5, 200)
    direction = GradDrop().combine(torch.ones(5), rows)
    positive, negative = rows.clamp(min=0).sum(0), rows.clamp(max=0).sum(0)
    follows_positive = torch.isclose(direction, positive)
    assert (follows_positive | torch.isclose(direction, negative)).all()
    assert 0 < int(follows_positive.sum()) < 200


def test_the_mean_over_draws_is_known() -> None:
    rows = random_jacobian(3, 4)
    weighting = GradDrop(leak=0.2)
    total = sum(weighting.combine(torch.ones(3), rows) for _ in range(4000)) / 4000
    purity = 0.5 * (1 + rows.sum(0) / rows.abs().sum(0))
    kept = purity * rows.clamp(min=0).sum(0) + (1 - purity) * rows.clamp(max=0).sum(0)
    expected = 0.2 * rows.sum(0) + 0.8 * kept
    torch.testing.assert_close(total, expected, atol=0.05 * float(rows.abs().max()), rtol=0)


def test_agreeing_gradients_and_a_full_leak_give_the_sum() -> None:
    rows = random_jacobian(3, 50)
    torch.testing.assert_close(GradDrop().combine(torch.ones(3), rows.abs()), rows.abs().sum(0))
    torch.testing.assert_close(GradDrop(leak=1.0).combine(torch.ones(3), rows), rows.sum(0))


@pytest.mark.peer("T17")
def test_draws_have_their_own_seed_and_continue_after_a_resume() -> None:
    """T17."""
    rows = random_jacobian(3, 50)
    whole, resumed = GradDrop(), GradDrop()
    state = torch.get_rng_state()
    first = whole.combine(torch.ones(3), rows)
    assert torch.equal(torch.get_rng_state(), state)
    resumed.load_state_dict(whole.state_dict())
    second = whole.combine(torch.ones(3), rows)
    assert torch.equal(resumed.combine(torch.ones(3), rows), second)
    assert not torch.equal(first, second)
    assert not torch.equal(GradDrop(seed=1).combine(torch.ones(3), rows), first)


def test_the_draws_do_not_depend_on_how_many_columns_are_computed_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = random_jacobian(3, 500)
    whole = GradDrop(seed=2).combine(torch.ones(3), rows)
    monkeypatch.setattr(jacobian, "CACHE", 100)  # at most 33 columns
    pieces = GradDrop(seed=2).combine(torch.ones(3), rows)
    assert torch.equal(whole, pieces)


def test_the_draws_do_not_depend_on_the_precision() -> None:
    rows = random_jacobian(3, 500).round(decimals=2).float()
    single = GradDrop(seed=2).combine(torch.ones(3), rows)
    double = GradDrop(seed=2).combine(torch.ones(3), rows.double())
    torch.testing.assert_close(single.double(), double, atol=1e-5, rtol=1e-5)


def test_parameters_without_gradient_stay() -> None:
    assert GradDrop().combine(torch.ones(2), torch.zeros(2, 3)).tolist() == [0, 0, 0]


def test_a_leak_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"leak=.*should be in \[0, 1\]. Found.*Use 1"):
        GradDrop(leak=2.0)
