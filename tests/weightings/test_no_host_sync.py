"""Rules that run on the device never ask it for a number."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_mtl.callbacks import (
    DBMTL,
    DWA,
    FAMO,
    IMTLL,
    DynamicTaskPriority,
    ExcessMTL,
    FixedWeighting,
    GeometricLoss,
    JacobianWeighting,
    LossWeighting,
    MoCo,
    RandomWeighting,
    ReLoBRaLo,
    SoftAdapt,
    SoftOptimalUncertainty,
    UncertaintyWeighting,
)
from tests.support.jacobians import random_jacobian
from tests.support.reads import Reads

WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select"}
TASKS = ("a", "b", "c")


class Waits(TorchDispatchMode):
    """Counts the operations that have to wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in WAITING:
            self.found.append(func._schema.name)
        return func(*args, **(kwargs or {}))


def test_the_counter_counts() -> None:
    with Waits() as waits:
        float(torch.ones(2).sum())
    assert waits.found == ["aten::_local_scalar_dense"]


@pytest.mark.peer("L19")
@pytest.mark.parametrize(
    "build",
    [
        DWA,
        FAMO,
        GeometricLoss,
        IMTLL,
        RandomWeighting,
        ReLoBRaLo,
        SoftAdapt,
        SoftOptimalUncertainty,
        UncertaintyWeighting,
        lambda: DynamicTaskPriority(indicators={"a": "x"}),
        lambda: FixedWeighting(dict.fromkeys(TASKS, 2.0)),
    ],
    ids=[
        "DWA",
        "FAMO",
        "GeometricLoss",
        "IMTLL",
        "RandomWeighting",
        "ReLoBRaLo",
        "SoftAdapt",
        "SoftOptimalUncertainty",
        "UncertaintyWeighting",
        "DynamicTaskPriority",
        "FixedWeighting",
    ],
)
def test_loss_rules_do_not_wait(build: Callable[[], LossWeighting]) -> None:
    """L19: LibMTL asks for every loss of every task in every step."""
    weighting = build()
    weighting.tasks = TASKS
    with Waits() as waits, Reads() as reads:
        for _ in range(3):
            losses = torch.rand(3)
            weighting.weights(losses)
            weighting.update(losses)
            if isinstance(weighting, FAMO):
                weighting.learn(losses, losses / 2)
    # The state of a generator and the steps that Adam counts never were anywhere but on the host.
    drawn = ("cpu", torch.get_rng_state().numel())
    counts = isinstance(weighting, (IMTLL, UncertaintyWeighting))
    counted = [("tolist", len(TASKS))] * 3 if counts else []
    assert not waits.found and [read for read in reads.found if read != drawn] == counted


@pytest.mark.peer("L3")
@pytest.mark.parametrize("build", [DBMTL, ExcessMTL, MoCo])
def test_jacobian_rules_do_not_wait(build: Callable[[], JacobianWeighting]) -> None:
    """L3: LibMTL moves every gradient to the host and back."""
    weighting = build()
    rows = random_jacobian(3, 9)
    with Waits() as waits, Reads() as reads:
        for _ in range(3):
            weighting.combine(torch.rand(3).double(), rows)
    assert not waits.found and not reads.found
