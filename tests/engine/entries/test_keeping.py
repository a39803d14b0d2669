"""Operations that keep entries apart."""

import torch
from torch import nn

from lightning_mtl.engine.graph import reach, root_edge
from lightning_mtl.engine.sketching.sketch import Sketch


def test_a_sketched_layer_leaves_the_entries_of_its_outputs_apart() -> None:
    """The layer is shared as a whole, and nothing of the graph is lost on the way to it."""
    torch.manual_seed(0)
    trunk, last = nn.Linear(4, 32), nn.Linear(32, 2)
    x = torch.randn(3, 4)
    with Sketch(nn.ModuleList([trunk, last]), [last.weight, last.bias], rows=2, seed=0):
        outputs = last(trunk(x).relu())
    assert outputs.grad_fn is not None and "Tap" in outputs.grad_fn.name()
    tapped = reach([root_edge(outputs[:, task].sum()) for task in range(2)])
    plain = last(trunk(x).relu())
    expected = reach([root_edge(plain[:, task].sum()) for task in range(2)])
    parameters = {*trunk.parameters(), *last.parameters()}
    assert parameters.intersection(tapped.shared) == parameters.intersection(expected.shared)
    assert not tapped.uncertain and len(tapped.unfollowed) == len(expected.unfollowed)
