import itertools
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.models.mixtures.cgc import CGC
from lightning_mtl.models.mixtures.ple import PLE
from tests.models.features.networks import CHANNELS, matching, owners, small


def gated(gate: nn.Module, x: Tensor, selected: list[Tensor]) -> Tensor:
    return torch.softmax(gate.linear.weight @ x, dim=0) @ torch.stack(selected)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_it_is_the_network_of_the_paper(levels):
    """Section 4.2, one row at a time."""
    network, rows = small(partial(PLE, levels=levels)), torch.randn(3, 4)
    predictions = network(rows)
    for index, row in enumerate(rows):
        shared = network.backbone(row)
        of_task = dict.fromkeys(CHANNELS, shared)
        for number, level in enumerate(network.levels):
            common = [expert(shared) for expert in level.shared.experts]
            own = {
                task: [expert(x) for expert in level.own[task].experts]
                for task, x in of_task.items()
            }
            of_task = {
                task: gated(level.gates[task], x, own[task] + common) for task, x in of_task.items()
            }
            if number < levels - 1:
                everything = [*itertools.chain(*own.values()), *common]
                shared = gated(network.shared_gates[number], shared, everything)
        for task, x in of_task.items():
            torch.testing.assert_close(network.towers[task](x), predictions[task][index])


def test_one_level_is_customized_gate_control():
    ple, cgc = small(partial(PLE, levels=1)), small(CGC)
    renamed = {name.replace("levels.0.", "level."): p for name, p in ple.state_dict().items()}
    cgc.load_state_dict(renamed)
    rows = torch.randn(5, 4)
    torch.testing.assert_close(ple(rows), cgc(rows), rtol=0, atol=0)


def test_own_are_the_experts_of_the_last_level_and_the_gates_of_the_last_two():
    network = small(partial(PLE, levels=3))
    own = {
        task: matching(
            network,
            f"levels.1.gates.{task}",
            f"levels.2.gates.{task}",
            f"levels.2.own.{task}",
            f"towers.{task}",
        )
        for task in CHANNELS
    }
    shared = matching(
        network,
        *("backbone", "shared_gates", "levels.0"),
        *("levels.1.shared", "levels.1.own", "levels.2.shared"),
    )
    assert owners(network, torch.rand(3, 4)) == {"": shared, **own}


@pytest.mark.parametrize("argument", ["levels", "shared_experts", "task_experts"])
def test_numbers_out_of_range_are_errors(argument):
    with pytest.raises(ValueError, match=rf"`PLE\({argument}=\)` should be at least 1\. Found 0"):
        PLE(CHANNELS, in_features=4, **{argument: 0})
