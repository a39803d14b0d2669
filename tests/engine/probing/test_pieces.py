import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.engine.probing.perturbation import perturbed
from tests.engine.probing.test_probe import cosines, exact_gramian
from tests.support.ddp_probes import MANY, SAMPLES, Probed
from tests.support.ranks import results_of
from tests.support.toy import toy_data


@pytest.fixture
def partitioned(monkeypatch: pytest.MonkeyPatch) -> nn.Linear:
    """A layer under what `deepspeed.zero` offers: its parameters are empty unless gathered."""
    layer = nn.Linear(6, 4)
    held: dict[Tensor, Tensor] = {}
    for parameter in layer.parameters():
        parameter.ds_id = len(held)
        held[parameter] = parameter.detach().clone()
        parameter.data = torch.empty(0)

    @contextmanager
    def gathered(parameters: list[Tensor], modifier_rank: int | None = None) -> Iterator[None]:
        for parameter in parameters:
            parameter.data = held[parameter].clone()
        yield
        for parameter in parameters:
            if modifier_rank is not None:
                held[parameter] = parameter.data.clone()
            parameter.data = torch.empty(0)

    zero = ModuleType("deepspeed.zero")
    zero.GatheredParameters = gathered
    monkeypatch.setitem(sys.modules, "deepspeed", ModuleType("deepspeed"))
    monkeypatch.setitem(sys.modules, "deepspeed.zero", zero)
    layer.held = held
    return layer


def test_what_deepspeed_has_partitioned_is_gathered_moved_and_restored(
    partitioned: nn.Linear,
) -> None:
    layer = partitioned
    before = [part.clone() for part in layer.held.values()]
    with perturbed(layer, layer, ["weight", "bias"], seed=1) as size:
        moved = [part.clone() for part in layer.held.values()]
    assert [tuple(parameter.shape) for parameter in layer.parameters()] == [(0,), (0,)]
    assert all(torch.equal(a, b) for a, b in zip(before, layer.held.values(), strict=True))
    whole = nn.Linear(6, 4)
    whole.load_state_dict({"weight": before[0], "bias": before[1]})
    with perturbed(whole, whole, ["weight", "bias"], seed=1) as expected:
        assert all(torch.equal(a, b) for a, b in zip(moved, whole.parameters(), strict=True))
    assert size == expected


@pytest.fixture(scope="module")
def flat() -> Any:
    kinds = ["root FULL_SHARD", "parts FULL_SHARD", "parts NO_SHARD", "parts SHARD_GRAD_OP"]
    return results_of("ddp_probes", str(MANY), *kinds)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["root FULL_SHARD", "parts FULL_SHARD", "parts NO_SHARD"])
def test_slopes_under_fsdp1_are_those_of_the_gradients(flat: Any, kind: str) -> None:
    found = flat[kind]
    assert found["exact"]
    module = Probed(0)
    names = [name.replace("_fsdp_wrapped_module.", "") for name in found["names"]]
    exact = exact_gramian(module, [part[:SAMPLES] for part in toy_data().tensors], names)
    estimate = found["z"].T @ found["z"] / MANY
    torch.testing.assert_close(
        cosines(estimate), cosines(exact).to(estimate), atol=3 / MANY**0.5, rtol=0
    )
    torch.testing.assert_close(
        estimate.diagonal(), exact.diagonal().to(estimate), rtol=3 * (2 / MANY) ** 0.5, atol=0
    )


@pytest.mark.slow
def test_parts_that_stay_gathered_under_fsdp1_are_refused(flat: Any) -> None:
    assert 'Found "SHARD_GRAD_OP"' in flat["parts SHARD_GRAD_OP"]["error"]
