"""What the tests of other packages' modules share: the rules that train them, and what is seen."""

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from lightning_mtl import MultiTaskModule
from lightning_mtl.callbacks import GradNorm, UncertaintyWeighting, UPGrad
from tests.support.toy import Log, parameters

# Norms at a layer, all gradients, and the losses only.
each_rule = pytest.mark.parametrize("rule", [GradNorm, UPGrad, UncertaintyWeighting])


def why(package: str) -> str:
    return f"{package} is no dependency: `pip install {package}` to see its modules balanced"


def check_balanced(
    module: MultiTaskModule, log: Log, tasks: Iterable[str], start: Tensor, plain: Tensor
) -> None:
    """Losses and parameters move, and the weights are another run's than those of the plain sum.

    Args:
        module: after its training.
        log: of that training.
        tasks: their names.
        start: the parameters before it.
        plain: the parameters after training their own module as long.
    """
    # Callbacks come before the module, which does the logging: a row is that of the batch before.
    rows = log.rows[1:]
    losses = {task: [row[f"train/loss/{task}"] for row in rows] for task in tasks}
    weights = {task: [row[f"train/weight/{task}"] for row in rows] for task in tasks}
    assert len(rows) > 2
    assert all(len(set(values)) > 1 for values in losses.values())
    assert any(weight != 1 for values in weights.values() for weight in values)
    assert set(module.task_weights) == set(tasks)
    for other in (start, plain):
        assert not torch.allclose(parameters(module), other, atol=1e-7)
