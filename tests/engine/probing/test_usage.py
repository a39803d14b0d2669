from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.engine.graph import reach, root_edge
from lightning_mtl.engine.probing.usage import learn_usage, merged, shared_names
from lightning_mtl.engine.shared_parameters import Partition
from tests.support.ranks import results_of
from tests.support.toy import TASKS, Toy, toy_loader

TRUNK = [f"trunk.{part}" for part in ("0.weight", "0.bias", "1.weight", "1.bias")]
TRUNK += ["trunk.3.weight", "trunk.3.bias"]


class Network(nn.Module):
    """The toy as a network that returns the predictions of all tasks."""

    def __init__(self, toy: Toy) -> None:
        super().__init__()
        self.trunk, self.heads = toy.trunk, toy.heads

    def forward(self, x: Tensor) -> list[Tensor]:
        features = self.trunk(x)
        return [self.heads[task](features).square().mean() for task in TASKS]


def batch() -> Any:
    return next(iter(toy_loader()))


def test_the_trunk_is_shared_and_each_head_belongs_to_its_task() -> None:
    module = Toy()
    learned = learn_usage(module, lambda: module.task_losses(batch()))
    assert shared_names(learned) == TRUNK
    assert learned["one"] == ["heads.one.weight", "heads.one.bias"]
    assert not any(part._forward_pre_hooks for part in module.modules())


def test_frozen_parameters_are_not_among_them() -> None:
    module = Toy()
    module.trunk[0].requires_grad_(False)
    learned = learn_usage(module, lambda: module.task_losses(batch()))
    assert shared_names(learned) == TRUNK[2:]


def test_a_partition_goes_on_with_what_was_learned() -> None:
    module = Toy()
    learned = learn_usage(module, lambda: module.task_losses(batch()))
    partition = Partition(module, TASKS, learned=learned)
    assert partition.complete
    assert [partition.names[parameter] for parameter in partition.shared] == TRUNK


def test_tasks_that_come_one_after_the_other_share_what_both_use() -> None:
    module, learned = Toy(), {}
    for task in TASKS[:2]:
        usage = learn_usage(module, lambda task=task: {task: module.task_losses(batch())[task]})
        assert not shared_names(usage)
        learned = merged(learned, usage)
    assert shared_names(learned) == TRUNK


def test_a_network_that_is_compiled_as_a_whole_shows_its_parts() -> None:
    network = Network(Toy())
    compiled, x = torch.compile(network, backend="aot_eager"), batch()[0]
    losses = compiled(x)
    hidden = reach([root_edge(loss) for loss in losses])
    assert hidden.fused and len(hidden.shared) == len(list(network.parameters()))
    learned = learn_usage(compiled, lambda: dict(zip(TASKS, compiled(x), strict=True)))
    assert shared_names(learned) == [f"_orig_mod.{name}" for name in TRUNK]


class Swapped(nn.Linear):
    """A layer whose parameters are other tensors while its forward pass runs, as under FSDP."""

    @contextmanager
    def gathered(self) -> Iterator[None]:
        held = dict(self._parameters)
        for name, parameter in held.items():
            self._parameters[name] = nn.Parameter(parameter.detach().clone())
        try:
            yield
        finally:
            self._parameters.update(held)

    def __call__(self, x: Tensor) -> Tensor:
        with self.gathered():
            return super().__call__(x)


def test_parameters_that_are_gathered_for_the_forward_pass_are_known_by_their_names() -> None:
    module = Toy()
    module.trunk[0] = Swapped(6, 16)
    learned = learn_usage(module, lambda: module.task_losses(batch()))
    assert shared_names(learned) == TRUNK


@pytest.mark.slow
def test_ranks_that_lack_other_tasks_agree_where_parameters_are_sharded() -> None:
    found = results_of("ddp_probes", "1", "fsdp2")["fsdp2"]["learned"]
    assert {task: len(names) for task, names in found.items()} == {"": 10} | dict.fromkeys(TASKS, 2)
    assert all(name.startswith("trunk.") for name in shared_names(found))
