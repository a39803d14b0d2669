"""The options of the ready-made module that only make it faster: they change no result."""

import pickle
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.callbacks import (
    MGDA,
    GradDrop,
    UncertaintyWeighting,
)
from tests.support.small_network import fitted, small_loader, small_module
from tests.support.toy import quiet_trainer

pytestmark = pytest.mark.filterwarnings(
    # Said by the compiler of itself.
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)
EAGER: dict[str, Any] = {"backend": "eager"}
RULES: dict[str, Callable[[], list[L.Callback]]] = {
    "no weighting": list,
    "losses": lambda: [UncertaintyWeighting()],
    "Gramian": lambda: [MGDA()],
    "features": lambda: [MGDA(gradients="features")],
    "Jacobian": lambda: [GradDrop(seed=0)],
}
every_rule = pytest.mark.parametrize("rule", RULES)


def state(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.network.state_dict())


def trained(rule: str = "no weighting", steps: int = 3, **options: Any) -> dict[str, Tensor]:
    module = small_module(**options)
    fitted(module, *RULES[rule](), max_steps=steps)
    return state(module)


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.fixture
def _nothing_compiled() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@every_rule
def test_channels_last_changes_no_gradient(rule: str) -> None:
    sgd: Any = lambda parameters: torch.optim.SGD(parameters, lr=0.1)  # noqa: E731
    assert_same(trained(rule, optimizer=sgd, channels_last=True), trained(rule, optimizer=sgd))


def test_channels_last_lays_out_images_and_weights() -> None:
    module, layouts = small_module(channels_last=True), []
    module.network.trunk.register_forward_pre_hook(
        lambda _, args: layouts.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    fitted(module, MGDA())
    quiet_trainer().validate(module, small_loader(), verbose=False)
    assert len(layouts) == 5
    assert all(layouts)
    weight = module.network.trunk[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()


@every_rule
def test_a_fused_step_changes_no_result(rule: str) -> None:
    assert_same(trained(rule, fused=True), trained(rule))


@every_rule
def test_a_fused_step_reads_gradients_in_any_layout(rule: str) -> None:
    assert_same(trained(rule, fused=True, channels_last=True), trained(rule))


def test_fused_gradients_are_clipped_under_mixed_precision() -> None:
    found = []
    for fused in (True, False):
        module = small_module(fused=fused)
        fitted(module, MGDA(), precision="bf16-mixed", gradient_clip_val=0.1)
        found.append(state(module))
    assert_same(*found)


def resumed(before: dict[str, Any], after: dict[str, Any], path: Path) -> L.Trainer:
    """Two steps with some options, and two with others."""
    fitted(small_module(**before), max_steps=2).save_checkpoint(path)
    return fitted(small_module(**after), ckpt_path=str(path), max_steps=4)


ALL = {"fused": True, "channels_last": True, "compile": EAGER}


@pytest.mark.usefixtures("_nothing_compiled")
@pytest.mark.parametrize(
    ("before", "after"),
    [({}, ALL), (ALL, {}), ({"fused": True}, {"fused": True, "channels_last": True})],
    ids=["to all", "from all", "to another layout"],
)
def test_a_run_resumes_with_other_options(
    before: dict[str, Any], after: dict[str, Any], tmp_path: Path
) -> None:
    expected = resumed({}, {}, tmp_path / "plain.ckpt").lightning_module
    trainer = resumed(before, after, tmp_path / "half.ckpt")
    assert_same(state(trainer.lightning_module), state(expected))
    (group,) = trainer.optimizers[0].param_groups
    assert bool(group["fused"]) is bool(after)


@pytest.mark.parametrize(
    ("optimizer", "found"),
    [
        (torch.optim.RMSprop, r"without a fused step. Found `RMSprop`\."),
        (lambda p: torch.optim.Adam(p, foreach=True), r"`foreach=True`. Found `Adam\(foreach"),
    ],
    ids=["no kernel", "another way"],
)
def test_an_optimizer_that_cannot_be_fused_is_refused(optimizer: Any, found: str) -> None:
    module = small_module(fused=True, optimizer=optimizer)
    with pytest.raises(ValueError, match=rf"`DensePrediction\(fused=\)` should be False .*{found}"):
        module.configure_optimizers()


compiled = pytest.mark.usefixtures("_nothing_compiled")
every_backend = pytest.mark.parametrize(
    # The last one needs a C++ compiler.
    "backend",
    ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)],
)


@compiled
@pytest.mark.slow
@every_backend
@every_rule
def test_compiled_parts_change_no_result(rule: str, backend: str) -> None:
    assert_same(trained(rule, compile={"backend": backend}), trained(rule))


@compiled
@every_backend
def test_compiled_parts_are_differentiated_again_after_a_plain_run(backend: str) -> None:
    found = []
    for options in ({}, {"compile": {"backend": backend}}):
        module = small_module(**options)
        fitted(module, max_steps=1)
        fitted(module, MGDA(), max_steps=2)
        found.append(state(module))
    assert_same(*found)


@compiled
@pytest.mark.slow
def test_code_of_plain_runs_in_the_cache_is_not_taken(tmp_path: Path) -> None:
    def plain() -> None:
        module = small_module()
        for part in (module.network.trunk, *module.network.decoders.values()):
            part.compile()
        fitted(module)

    expected = trained("Gramian")
    plain()
    torch.compiler.reset()
    assert_same(trained("Gramian", compile=True), expected)


@compiled
def test_only_the_parts_are_compiled_and_only_when_training_starts() -> None:
    module = small_module(compile=EAGER)
    keys = list(module.state_dict())
    quiet_trainer().validate(module, small_loader(), verbose=False)
    assert not any(part._compiled_call_impl for part in module.modules())
    fitted(module, MGDA())
    names = {name for name, part in module.named_modules() if part._compiled_call_impl}
    assert names == {
        "network.trunk",
        *(f"network.decoders.{task}" for task in ("segmentation", "depth", "normals")),
    }
    assert list(module.state_dict()) == keys
    quiet_trainer().validate(module, small_loader(), verbose=False)


@compiled
def test_a_compiled_network_is_copied_and_pickled() -> None:
    module = small_module(compile=EAGER)
    fitted(module)
    image = next(iter(small_loader()))["image"]
    for copy in (deepcopy(module.network), pickle.loads(pickle.dumps(module.network))):
        torch.testing.assert_close(copy(image), module.network(image))


class OneLayer(nn.Conv2d):
    def __init__(self, channels: dict[str, int]) -> None:
        super().__init__(3, 8, 1)


def test_a_network_without_parts_is_not_compiled() -> None:
    module = small_module(compile=True)
    module.network = OneLayer({})
    with pytest.raises(
        ValueError, match=r"`DensePrediction\(compile=\)` should be False .* Found `OneLayer`"
    ):
        module.setup("fit")
