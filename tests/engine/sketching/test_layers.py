"""Each kind of layer: the gradients of its sketch are those of its weight, projected."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from tests.engine.sketching.measuring import exact_rows, projected_rows, sketched_rows


def squares(module: nn.Module, *x: Tensor) -> Callable[[], Sequence[Tensor]]:
    """Two losses of one output."""

    def run() -> Sequence[Tensor]:
        y = module(*x)
        return [y.square().mean(), y.sin().sum()]

    return run


def check_projected(module: nn.Module, *x: Tensor, sketched: int = 1) -> None:
    run = squares(module, *x)
    rows, sketch = sketched_rows(module, run)
    assert len(sketch.sketched) == sketched
    expected = projected_rows(module, run, sketch)
    for row, projected in zip(rows, expected, strict=True):
        torch.testing.assert_close(row, projected)


def check_exact(module: nn.Module, *x: Tensor) -> None:
    run = squares(module, *x)
    rows, sketch = sketched_rows(module, run)
    assert not sketch.sketched
    torch.testing.assert_close(rows, exact_rows(module, run), rtol=0, atol=0)


KNOWN = {
    "linear": (lambda: nn.Linear(5, 3), (4, 5)),
    "linear without bias": (lambda: nn.Linear(5, 3, bias=False), (4, 5)),
    "linear on tokens": (lambda: nn.Linear(5, 3), (2, 6, 5)),
    "linear on one vector": (lambda: nn.Linear(5, 3), (5,)),
    "one dimension": (lambda: nn.Conv1d(4, 6, 3), (2, 4, 9)),
    "two dimensions": (lambda: nn.Conv2d(4, 6, 3, padding=1), (2, 4, 5, 6)),
    "three dimensions": (lambda: nn.Conv3d(2, 3, 2), (2, 2, 3, 4, 5)),
    "one image without a batch": (lambda: nn.Conv2d(4, 6, 3), (4, 5, 6)),
    "stride and dilation": (lambda: nn.Conv2d(4, 6, 3, stride=2, dilation=2), (2, 4, 9, 9)),
    "uneven kernel": (lambda: nn.Conv2d(4, 6, (3, 1), padding=(1, 0)), (2, 4, 5, 5)),
    "same size": (lambda: nn.Conv2d(4, 6, 3, padding="same"), (2, 4, 5, 5)),
    "reflected": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (2, 4, 5, 5)),
    "circular": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (2, 4, 5, 5)),
    "replicated": (lambda: nn.Conv1d(4, 6, 3, padding=1, padding_mode="replicate"), (2, 4, 5)),
    "groups": (lambda: nn.Conv2d(8, 6, 3, groups=2), (2, 8, 5, 5)),
    "one position": (lambda: nn.Conv2d(4, 6, 1), (3, 4, 1, 1)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_layers_are_projected(name) -> None:
    torch.manual_seed(0)
    build, shape = KNOWN[name]
    check_projected(build(), torch.randn(shape))


def test_tokens_that_are_not_contiguous_are_projected() -> None:
    torch.manual_seed(0)
    for bias in (True, False):
        check_projected(nn.Linear(5, 3, bias=bias), torch.randn(6, 2, 5).transpose(0, 1))


def test_channels_last_is_projected() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 5, 6).to(memory_format=torch.channels_last)
    for groups in (1, 2):
        convolution = nn.Conv2d(4, 6, 3, groups=groups)
        check_projected(convolution.to(memory_format=torch.channels_last), x)


def test_double_precision_is_kept() -> None:
    torch.manual_seed(0)
    check_projected(nn.Conv2d(4, 6, 3).double(), torch.randn(2, 4, 5, 6).double())


def test_an_empty_batch_has_gradients_of_zero() -> None:
    for layer, x in (
        (nn.Linear(5, 3), torch.zeros(0, 5)),
        (nn.Conv2d(4, 6, 3), torch.zeros(0, 4, 5, 5)),
    ):
        rows, _ = sketched_rows(layer, lambda layer=layer, x=x: [layer(x).sum()])
        assert not any(part.any() for part in rows[0])


def test_an_input_may_be_given_by_its_name() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(5, 3), torch.randn(4, 5)

    def run() -> Sequence[Tensor]:
        return [layer(input=x).square().sum()]

    rows, sketch = sketched_rows(layer, run)
    torch.testing.assert_close(rows, projected_rows(layer, run, sketch))


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight, self.bias)


class SamePadding(nn.Conv2d):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(2 * x, weight, bias)


class Renamed(nn.Conv2d):
    """Nothing else is changed."""


def patched() -> nn.Module:
    layer = nn.Linear(5, 3)
    layer.forward = lambda x: nn.functional.linear(2 * x, layer.weight)
    return layer


def watched() -> nn.Module:
    layer = nn.Linear(5, 3)
    layer.weight.register_hook(lambda gradient: 2 * gradient)
    return layer


UNKNOWN = {
    "another forward": (lambda: Standardised(4, 6, 3), (2, 4, 5, 5)),
    "another convolution": (lambda: SamePadding(4, 6, 3), (2, 4, 5, 5)),
    "a forward of its own": (patched, (2, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3), (2, 4, 5, 5)),
    "norms": (lambda: nn.Sequential(nn.LayerNorm(5), nn.BatchNorm1d(5)), (2, 5)),
    "no larger than the sketch": (lambda: nn.Conv2d(4, 4, (2, 1), groups=4), (2, 4, 5, 5)),
    "parametrized": (lambda: parametrizations.weight_norm(nn.Linear(5, 3)), (2, 5)),
    "pruned": (lambda: prune.l1_unstructured(nn.Linear(5, 3), "weight", 0.5), (2, 5)),
    "a hook changes the gradient": (watched, (2, 5)),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_other_layers_are_exact(name) -> None:
    torch.manual_seed(0)
    build, shape = UNKNOWN[name]
    check_exact(build(), torch.randn(shape))


def test_a_subclass_that_changes_nothing_is_projected() -> None:
    torch.manual_seed(0)
    check_projected(Renamed(4, 6, 3), torch.randn(2, 4, 5, 5))


def test_complex_weights_are_exact() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(5, 3, dtype=torch.cfloat), torch.randn(2, 5, dtype=torch.cfloat)
    rows, sketch = sketched_rows(layer, lambda: [layer(x).abs().sum()])
    assert not sketch.sketched
    torch.testing.assert_close(rows, exact_rows(layer, lambda: [layer(x).abs().sum()]))


def test_frozen_weights_are_left_alone() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    net[0].weight.requires_grad_(False)
    check_projected(net, torch.randn(2, 5))


def test_layers_in_compiled_modules_are_exact() -> None:
    torch.manual_seed(0)
    wrapped, in_place = nn.Sequential(nn.Linear(5, 5)), nn.Sequential(nn.Linear(5, 5))
    # What `torch.compile` and `Module.compile` leave behind, without their compiler.
    wrapper = nn.Sequential(OrderedDict(_orig_mod=wrapped))
    in_place._compiled_call_impl = in_place._call_impl
    net = nn.Sequential(wrapped, wrapper, in_place, nn.Linear(5, 3))
    check_projected(net, torch.randn(2, 5))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_what_torch_compiles_is_exact() -> None:
    torch.manual_seed(0)
    in_place = nn.Sequential(nn.Linear(5, 5))
    in_place.compile(backend="eager")
    wrapped = torch.compile(nn.Sequential(nn.Linear(5, 5)), backend="eager")
    check_projected(nn.Sequential(wrapped, in_place, nn.Linear(5, 3)), torch.randn(2, 5))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_layers_called_in_a_compiled_function_are_exact() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 3))
    compiled = torch.compile(lambda x: net[0](x).relu(), backend="eager", fullgraph=True)
    x = torch.randn(2, 5)

    def run() -> Sequence[Tensor]:
        return [net[1](compiled(x)).square().sum()]

    rows, sketch = sketched_rows(net, run)
    assert set(sketch.sketched) == {net[1].weight}
    torch.testing.assert_close(rows, projected_rows(net, run, sketch))
