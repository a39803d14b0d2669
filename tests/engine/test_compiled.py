"""Networks that were compiled, for a plain run and then for a weighting in the same process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch._inductor.config
from torch import nn

from lightning_mtl.engine.errors import CompiledBackwardError
from tests.support.twins import WEIGHTS_OF_ONE, Balanced, Network, Plain, Rules, Run, state

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
