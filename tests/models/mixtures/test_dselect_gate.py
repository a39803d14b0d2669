import math

import pytest
import torch
from torch import Tensor

from lightning_mtl.models.mixtures.dselect_gate import DSelectGate, smooth_step


@pytest.mark.parametrize("gamma", [0.5, 1.0, 4.0])
def test_the_smooth_step_has_its_values_and_slopes(gamma):
    knots = gamma * torch.tensor([-2.0, -0.5, 0.0, 0.25, 0.5, 2.0])
    knots.requires_grad_()
    steps = smooth_step(knots, gamma)
    torch.testing.assert_close(steps, torch.tensor([0, 0, 0.5, 0.84375, 1, 1]))
    (slopes,) = torch.autograd.grad(steps.sum(), knots)
    expected = torch.tensor([0, 0, 1.5, 1.125, 0, 0]) / gamma
    torch.testing.assert_close(slopes, expected)


def test_the_smooth_step_is_the_cubic_of_the_paper_in_between():
    t = torch.linspace(-0.99, 0.99, 50)
    cubic = -2 / 2**3 * t**3 + 3 / (2 * 2) * t + 1 / 2
    torch.testing.assert_close(smooth_step(t, gamma=2), cubic)


def gate_with(codes: Tensor, experts: int, k: int = 1) -> DSelectGate:
    """A static gate whose selectors have the given numbers z."""
    gate = DSelectGate(experts, k, in_features=None, gamma=1.0)
    gate.codes.values.data = codes.reshape(1, -1)
    return gate


@pytest.mark.parametrize("experts", [2, 3, 5, 8])
@pytest.mark.parametrize("in_features", [None, 4], ids=["static", "by example"])
def test_selectors_are_products_over_bits(experts, in_features):
    """r(z), one entry at a time."""
    torch.manual_seed(0)
    gate = DSelectGate(experts, 2, in_features, gamma=3.0)
    features = torch.randn(3, 4)
    if in_features is None:
        gate.codes.values.data = torch.randn_like(gate.codes.values)
    bits = math.ceil(math.log2(experts))
    found = gate.selectors(features)
    for z_of_sample, r_of_sample in zip(gate.codes(features), found, strict=True):
        for z, r in zip(z_of_sample.view(2, bits), r_of_sample, strict=True):
            for index in range(experts):
                steps = [smooth_step(number, 3.0) for number in z]
                product = torch.tensor(1.0)
                for bit, step in enumerate(steps):
                    product = product * (step if index >> bit & 1 else 1 - step)
                torch.testing.assert_close(r[index], product)


@pytest.mark.parametrize("in_features", [None, 4], ids=["static", "by example"])
def test_weights_sum_to_one_where_every_index_has_an_expert(in_features):
    torch.manual_seed(0)
    gate, features = DSelectGate(8, 3, in_features, gamma=1.0), torch.randn(5, 4)
    weights = gate.weights(features, gate.selectors(features))
    assert weights.shape == (5, 8)
    torch.testing.assert_close(weights.sum(1), torch.ones(5))
    assert (weights >= 0).all()


def test_weights_are_selectors_weighed_by_a_softmax():
    gate = gate_with(torch.tensor([[9.0, -9.0], [-9.0, 9.0]]), experts=4, k=2)
    gate.logits.values.data = torch.tensor([[0.0, math.log(3)]])
    features = torch.rand(1, 1)
    weights = gate.weights(features, gate.selectors(features))
    torch.testing.assert_close(weights, torch.tensor([[0, 0.25, 0.75, 0]]))


def test_each_code_chooses_its_expert():
    for expert in range(8):
        z = torch.tensor([9.0 if expert >> bit & 1 else -9.0 for bit in range(3)])
        selectors = gate_with(z, experts=8).selectors(torch.rand(1, 1))
        assert selectors.squeeze().tolist() == [float(index == expert) for index in range(8)]


def test_the_penalty_of_a_power_of_two_is_the_entropy():
    gate, features = gate_with(torch.zeros(2, 3), experts=8, k=2), torch.rand(1, 1)
    penalty = gate.penalty(gate.selectors(features), 0.5)
    torch.testing.assert_close(penalty, torch.tensor(0.5 * 2 * math.log(8)), atol=1e-4, rtol=0)


def test_the_penalty_is_a_mean_over_samples():
    torch.manual_seed(0)
    gate, features = DSelectGate(5, 2, 4, gamma=3.0), torch.randn(6, 4)
    one_by_one = [gate.penalty(gate.selectors(sample), 0.5) for sample in features.split(1)]
    together = gate.penalty(gate.selectors(features), 0.5)
    torch.testing.assert_close(together, torch.stack(one_by_one).mean())


def test_indices_without_an_expert_are_penalised_by_the_quotient_of_the_paper():
    gate, features = gate_with(torch.tensor([0.1, 0.2, -0.3]), experts=5), torch.rand(1, 1)
    selectors = gate.selectors(features)
    expected = 1 / selectors.sum() - 1
    assert expected > 0.1
    torch.testing.assert_close(gate.penalty(selectors, 0.0), expected)


def test_a_gate_that_has_chosen_costs_nothing_however_many_experts():
    chosen = gate_with(torch.tensor([9.0, -9.0, -9.0]), experts=5)
    penalty = chosen.penalty(chosen.selectors(torch.rand(1, 1)), 1.0)
    torch.testing.assert_close(penalty, torch.tensor(0.0), atol=1e-5, rtol=0)


def test_a_gate_outside_all_experts_has_finite_gradients():
    gate = gate_with(torch.tensor([9.0, 9.0, 9.0]), experts=5)
    penalty = gate.penalty(gate.selectors(torch.rand(1, 1)), 1.0)
    penalty.backward()
    assert penalty.isfinite()
    assert gate.codes.values.grad.isfinite().all()


@pytest.mark.parametrize("experts", [5, 8])
def test_descent_on_the_penalty_makes_each_selector_choose_an_expert(experts):
    torch.manual_seed(0)
    gate, features = DSelectGate(experts, 2, None, gamma=1.0), torch.rand(1, 1)
    optimizer = torch.optim.Adam(gate.codes.parameters(), 0.01)
    for _ in range(200):
        optimizer.zero_grad()
        gate.penalty(gate.selectors(features), 1.0).backward()
        optimizer.step()
    selectors = gate.selectors(features)
    torch.testing.assert_close(selectors.amax(-1), torch.ones(1, 2))
    assert (gate.weights(features, selectors) > 0).sum() <= 2
