"""Lengths and directions of vectors."""

import pytest
import torch

from lightning_mtl.vectors import has_length, length, unit


def test_unit_vectors_have_length_one_and_the_same_direction():
    vectors = torch.randn(2, 3, 4, 5) * torch.logspace(-6, 6, 5)
    torch.testing.assert_close(length(unit(vectors)), torch.ones(2, 1, 4, 5))
    torch.testing.assert_close(unit(vectors) * length(vectors), vectors)


def test_lengths_are_those_of_torch():
    vectors = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(length(vectors), vectors.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("scale", [0.0, 1e-5, 1e-3, 1.0])
def test_the_gradient_is_bounded_by_the_shortest_length(scale):
    vectors = torch.full((1, 3, 1, 1), scale, requires_grad=True)
    unit(vectors, shortest=1e-3)[0, 0].sum().backward()
    assert vectors.grad.abs().max() <= 1.001e3


@pytest.mark.parametrize("scale", [1e-37, 1e-25, 1e-13, 1.0, 1e20, 1e38])
def test_a_vector_of_any_length_keeps_its_direction(scale):
    vector = torch.tensor([0.6, 0.0, -0.8]).view(1, 3, 1, 1)
    torch.testing.assert_close(unit(scale * vector), vector)


@pytest.mark.parametrize("vector", [(0.0, 0.0, -1.0), (2.0, 2.0, 2.0), (3e-4, 0.0, -4e-4)])
def test_the_gradient_is_that_of_the_formula(vector):
    value = torch.tensor(vector, dtype=torch.float64).view(1, 3, 1, 1)
    found, expected = (value.float().requires_grad_() for _ in range(2))
    weights = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    (unit(found, shortest=1e-3) * weights).sum().backward()
    literal = expected / expected.norm(dim=1, keepdim=True).clamp(min=1e-3)
    (literal * weights).sum().backward()
    torch.testing.assert_close(found.grad, expected.grad)


def test_the_zero_vector_stays_zero():
    vectors = torch.zeros(1, 3, 1, 1, requires_grad=True)
    unit(vectors).sum().backward()
    assert not unit(vectors).any()
    assert vectors.grad.isfinite().all()


def test_low_precision_is_computed_in_float32():
    assert unit(torch.ones(1, 3, 1, 1, dtype=torch.bfloat16)).dtype == torch.float32


def test_a_vector_has_a_length_unless_all_components_are_zero():
    vectors = torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]).view(2, 3, 1, 1)
    assert has_length(vectors).flatten().tolist() == [True, False]
