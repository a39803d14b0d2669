"""The badges of weightings are what classes, docstrings and measurements say."""

import pytest
import torch
from sitebuilder.badges import badges
from sitebuilder.properties import conflicting, properties, settled_weights, stationary

from lightning_mtl.callbacks import (
    DWA,
    FAMO,
    IMTLG,
    MGDA,
    NTKMTL,
    AdaTask,
    FixedWeighting,
    GeometricLoss,
    GradNorm,
    GramianWeighting,
    LossWeighting,
    MaxGNR,
    PCGrad,
)
from lightning_mtl.catalogue import weightings
from tests.weightings.test_properties import NOT_OPPOSING

MEASURED = [kind for kind in weightings() if properties(kind)]


def texts(kind: type) -> dict[str, str]:
    return {badge.topic: badge.text for badge in badges(kind)}


@pytest.mark.parametrize(
    ("kind", "topic", "expected"),
    [
        (DWA, "scale", "depends on the scale of losses"),
        (GeometricLoss, "scale", "scale-free"),
        (IMTLG, "scale", "scale-free, but for the length"),
        (AdaTask, "scale", "scale-free under Adam"),
        (DWA, "fsdp", "FSDP: yes"),
        (GeometricLoss, "fsdp", "FSDP: without accumulation"),
        (MGDA, "fsdp", 'FSDP: with gradients="probes"'),
        (MaxGNR, "fsdp", "FSDP: no"),
        (GradNorm, "fsdp", "FSDP: no"),
        (FAMO, "cost", "step: 2 F + H + B"),
        (MGDA, "memory", "memory: K P"),
        (MaxGNR, "memory", "memory: 2 K P"),
        (NTKMTL, "memory", "memory: K x features"),
        (GradNorm, "memory", "memory: K x one layer"),
        (FixedWeighting, "memory", "memory: K"),
    ],
    # The texts hold quotes, which names of tests should not.
    ids=lambda value: value.partition(":")[0].replace('"', "") if isinstance(value, str) else None,
)
def test_a_badge_says_what_is_known_of_the_class(kind: type, topic: str, expected: str) -> None:
    assert texts(kind)[topic] == expected


def test_sharded_parameters_are_offered_where_the_class_takes_them() -> None:
    for kind in weightings():
        if issubclass(kind, GramianWeighting):
            offered = "probes" in texts(kind)["fsdp"]
            assert offered == ("probes" in kind._choices()), kind
        else:
            assert (texts(kind)["fsdp"] == "FSDP: no") != issubclass(kind, LossWeighting)


def test_rules_that_never_oppose_a_task_are_those_that_other_tests_hold_to_it() -> None:
    never = {kind.__name__ for kind in MEASURED if texts(kind)["conflict"] == "opposes no task"}
    assert never == {name for name in NOT_OPPOSING if "(" not in name}


def test_rules_that_stand_still_are_those_of_the_papers() -> None:
    still = {kind.__name__ for kind in MEASURED if texts(kind)["stationary"].startswith("stops")}
    assert still == {"MGDA", "UPGrad", "DualProj", "NashMTL", "FairGrad"}


def test_points_are_stationary_and_conflicts_are_conflicts() -> None:
    for rows in stationary():
        normal = torch.linalg.svd(rows, full_matrices=False).U[:, -1]
        assert (normal @ rows).norm() < 1e-9
        assert (normal > 0).all() or (normal < 0).all()
    for dependent in (False, True):
        for rows in conflicting(dependent):
            assert (rows @ rows.T).min() < 0
            assert torch.linalg.matrix_rank(rows) == (2 if dependent else 3)


def test_weights_are_those_of_the_rule() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    for kind, expected in ((MGDA, [0.8, 0.2]), (PCGrad, [1.0, 1.0])):
        weights = torch.tensor(expected, dtype=torch.float64)
        torch.testing.assert_close(settled_weights(kind, rows), weights)
