"""Which parts of a network are compiled: the largest that do not mix the tasks."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl import DensePrediction
from lightning_mtl.models import SharedEncoder
from lightning_mtl.models.compiling import compile_parts, differentiable_again
from lightning_mtl.models.parts import separate_parts
from tests.support.architectures import ARCHITECTURES, batch, training_module


def names_of(network: nn.Module, tasks: tuple[str, ...]) -> list[str]:
    names = {module: name for name, module in network.named_modules()}
    return [names[part] for part in separate_parts(network, tasks)]


def block() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.ReLU())


def test_an_encoder_is_a_part_and_so_is_each_decoder() -> None:
    network = SharedEncoder({"a": 1, "b": 2}, "mobilenet_v2", decoder="fpn")
    assert names_of(network, ("a", "b")) == ["encoder", "decoders.a", "decoders.b"]


def test_a_module_with_something_for_each_task_is_taken_apart() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared, self.own = block(), nn.ModuleDict({"a": block(), "b": block()})

        def forward(self, x: Tensor) -> Tensor:
            return x

    network = nn.ModuleDict({"mixed": Mixed()})
    assert names_of(network, ("a", "b")) == ["mixed.shared", "mixed.own.a", "mixed.own.b"]


@pytest.fixture
def _nothing_compiled() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def gradients(module: DensePrediction, name: str) -> dict[str, dict[str, Tensor]]:
    """Of each task, by the names of the parameters that its loss depends on."""
    names, parameters = zip(
        *((name, p) for name, p in module.named_parameters() if p.requires_grad), strict=True
    )
    torch.manual_seed(1)
    found = {}
    for task, output in module.task_losses(batch(name, 2)).items():
        loss = output if isinstance(output, Tensor) else output[0]
        of_task = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        found[task] = {n: g for n, g in zip(names, of_task, strict=True) if g is not None}
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("_nothing_compiled")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_compiled_each_task_uses_the_same_parameters_with_the_same_gradients(name: str) -> None:
    encoder = ARCHITECTURES[name].encoders[0]
    eager = gradients(training_module(name, encoder), name)
    module = training_module(name, encoder)
    compile_parts("Test", module.network, module.task_names, {"backend": "aot_eager"})
    with differentiable_again():
        compiled = gradients(module, name)
    for task, expected in eager.items():
        assert compiled[task].keys() == expected.keys()
        size = torch.stack([g.norm() for g in expected.values()]).norm()
        for key, gradient in expected.items():
            assert (compiled[task][key] - gradient).norm() < 1e-4 * size, key
