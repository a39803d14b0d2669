"""Networks that were compiled, for a plain run and then for a weighting in the same process."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
import torch._inductor.config
from torch import Tensor, nn

from lightning_mtl import MultiTaskModule
from lightning_mtl.callbacks import MGDA
from lightning_mtl.engine.errors import CompiledBackwardError
from tests.support.toy import TASKS, Toy, parameters, quiet_trainer, toy_loader
from tests.support.twins import WEIGHTS_OF_ONE, Balanced, Network, Plain, Rules, Run, Trunk, state

pytestmark = [
    # Said by the compiler of itself.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
    pytest.mark.filterwarnings("ignore:dynamo_pgo force disabled"),
]
# The second one needs a C++ compiler.
every_backend = pytest.mark.parametrize(
    "backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)]
)
every_gradient_rule = pytest.mark.parametrize("rule", ["GradNorm", "Gramian", "Jacobian"])


@pytest.fixture(autouse=True)
def _nothing_compiled() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def trained(kind: type[Network], rules: Rules, folder: Path, backend: str | None) -> Network:
    """A network of which the trunk was compiled; its softmax overwrites what it is given."""
    module = kind()
    module.trunk.append(nn.Softmax(-1))
    module.trunk.__class__ = Trunk
    if backend is not None:
        module.trunk.compile(backend=backend)
    Run(kind, rules, folder).fit(module)
    return module


@every_backend
@every_gradient_rule
def test_after_a_plain_run_the_error_says_how_to_compile(
    rule: str, backend: str, tmp_path: Path
) -> None:
    trained(Plain, list, tmp_path, backend)
    with pytest.raises(CompiledBackwardError, match=r"force_disable_caches = True.*donated_buffer"):
        trained(Balanced, WEIGHTS_OF_ONE[rule], tmp_path, backend)


@every_backend
@every_gradient_rule
def test_compiled_as_the_error_says_it_trains_after_a_plain_run(
    rule: str, backend: str, tmp_path: Path
) -> None:
    eager = trained(Plain, list, tmp_path, None)
    trained(Plain, list, tmp_path, backend)
    with torch._inductor.config.patch(force_disable_caches=True):
        torch.compiler.reset()
        balanced = trained(Balanced, WEIGHTS_OF_ONE[rule], tmp_path, backend)
    torch.testing.assert_close(state(balanced), state(eager), atol=1e-6, rtol=0)


class Heads(nn.Module):
    """A trunk with its heads, as one network."""

    def __init__(self) -> None:
        super().__init__()
        toy = Toy()
        self.trunk, self.heads = toy.trunk, toy.heads

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.trunk(x)
        return {task: head(features) for task, head in self.heads.items()}


class OneNetwork(MultiTaskModule):
    """The toy, whose predictions all come from one network."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Heads()

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        predictions = self.network(x)
        return {
            task: nn.functional.mse_loss(predictions[task], target)
            for task, target in zip(TASKS, targets, strict=True)
        }

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def compiled_network(module: OneNetwork, backend: str) -> OneNetwork:
    module.network = torch.compile(module.network, backend=backend)
    return module


def compiled_module(module: OneNetwork, backend: str) -> nn.Module:
    return torch.compile(module, backend=backend)


# The compiler follows the whole training step there, which takes it seconds.
both_ways = pytest.mark.parametrize(
    "compiled",
    [compiled_network, pytest.param(compiled_module, marks=pytest.mark.slow)],
    ids=["the network", "the module"],
)


def advice_of(trained: nn.Module) -> list[str]:
    """What a run says of networks that were compiled as a whole."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        quiet_trainer(callbacks=[MGDA()], max_steps=4).fit(trained, toy_loader())
    messages = [str(each.message) for each in warned]
    return [message for message in messages if "compiled as a whole" in message]


@both_ways
def test_compiled_as_a_whole_it_is_said_once_what_to_do(
    compiled: Callable[[OneNetwork, str], nn.Module],
) -> None:
    (advice,) = advice_of(compiled(OneNetwork(), "aot_eager"))
    assert advice.endswith("Compile the encoder and each head on its own.")


@both_ways
def test_a_compiler_that_leaves_the_graph_as_it_is_changes_nothing(
    compiled: Callable[[OneNetwork, str], nn.Module],
) -> None:
    module, eager = OneNetwork(), OneNetwork()
    assert advice_of(compiled(module, "eager")) == advice_of(eager) == []
    torch.testing.assert_close(parameters(module), parameters(eager), atol=1e-6, rtol=0)


def test_compiled_part_by_part_nothing_is_said() -> None:
    module = OneNetwork()
    module.network.trunk.compile(backend="aot_eager")
    for head in module.network.heads.values():
        head.compile(backend="aot_eager")
    assert advice_of(module) == []
