from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.engine.probing.perturbation import (
    RELATIVE_SIZE,
    perturbed,
    relative_size_for,
)

NAMES = ["0.weight", "0.bias", "2.weight"]


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(300, 40, dtype=dtype), nn.Tanh(), nn.Linear(40, 5, dtype=dtype))


def copies(net: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in net.named_parameters()}


def directions(net: nn.Module, names: list[str], seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """v by the names of the parameters, as it is seen from outside, and ε."""
    before = copies(net)
    with perturbed(net, net, names, seed) as size:
        after = copies(net)
    return {name: (after[name] - before[name]) / size for name in before}, size


def test_parameters_move_by_signs_in_units_of_their_root_mean_square() -> None:
    net = network(torch.float64)
    found, size = directions(net, NAMES, seed=1)
    theta = torch.cat([net.get_parameter(name).flatten() for name in NAMES])
    torch.testing.assert_close(size, RELATIVE_SIZE * theta.square().mean().sqrt())
    assert not found["2.bias"].any()
    moved = torch.cat([found[name].flatten() for name in NAMES])
    assert abs(float(moved.mean())) < 0.03
    torch.testing.assert_close(moved.abs(), torch.ones_like(moved))


def test_the_direction_follows_from_the_seed_and_from_the_place_alone() -> None:
    net = network(torch.float64)
    torch.manual_seed(5)
    first, _ = directions(net, NAMES, seed=1)
    torch.manual_seed(6)
    again, _ = directions(net, NAMES[:2], seed=1)
    other, _ = directions(net, NAMES, seed=2)
    torch.testing.assert_close(first["0.weight"], again["0.weight"])
    for name in NAMES:
        size = first[name].numel() ** 0.5
        assert abs(float((first[name] * other[name]).sum())) < 4 * size
    # Parameters of one shape do not move alike.
    twins = nn.Sequential(nn.Linear(30, 30), nn.Linear(30, 30)).double()
    found, _ = directions(twins, ["0.weight", "1.weight"], seed=1)
    assert abs(float((found["0.weight"] * found["1.weight"]).mean())) < 0.15


def complex_network() -> nn.Module:
    return network(torch.complex64)


def half_network() -> nn.Module:
    return network(torch.bfloat16)


def zero_network() -> nn.Module:
    net = network()
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    return net


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(network, id="real numbers"),
        pytest.param(complex_network, id="complex numbers"),
        pytest.param(half_network, id="half precision"),
        pytest.param(zero_network, id="zeros"),
    ],
)
def test_parameters_are_restored_to_the_bit_also_after_an_error(
    build: Callable[[], nn.Module],
) -> None:
    net = build()
    before, versions = copies(net), [parameter._version for parameter in net.parameters()]
    with pytest.raises(KeyError), perturbed(net, net, NAMES, seed=3) as size:
        assert 0 < float(size) < 1
        moved = copies(net)
        raise KeyError
    assert all(not torch.equal(moved[name], before[name]) for name in NAMES)
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())
    assert [parameter._version for parameter in net.parameters()] == versions


def test_both_parts_of_complex_numbers_move_by_one() -> None:
    net = complex_network()
    found, _ = directions(net, NAMES, seed=1)
    parts = torch.view_as_real(found["0.weight"])
    torch.testing.assert_close(parts.square().mean((0, 1)), torch.ones(2), atol=0.05, rtol=0)


def test_a_graph_that_is_alive_is_differentiated_as_if_nothing_had_moved() -> None:
    net, x = network(), torch.randn(4, 300)
    net(x).square().sum().backward()
    expected = [parameter.grad for parameter in net.parameters()]
    net.zero_grad()
    loss = net(x).square().sum()
    with perturbed(net, net, NAMES, seed=3):
        net(x)
    loss.backward()
    for parameter, gradient in zip(net.parameters(), expected, strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_casts_that_an_outer_autocast_has_kept_are_not_used_again() -> None:
    net, x = network(), torch.randn(4, 300)
    with torch.autocast("cpu", torch.bfloat16):
        before = net(x)
        with perturbed(net, net, NAMES, seed=3, relative_size=0.5):
            moved = net(x)
        after = net(x)
    assert not torch.equal(moved, before)
    assert torch.equal(after, before)


def test_the_size_of_a_step_is_above_the_rounding_of_the_precision() -> None:
    assert relative_size_for("32-true") == relative_size_for("64-true") == RELATIVE_SIZE
    for precision, dtype in (("bf16-mixed", torch.bfloat16), ("16-true", torch.float16)):
        assert torch.finfo(dtype).eps < 4 * relative_size_for(precision) < 0.1
