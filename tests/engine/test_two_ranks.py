"""Unusual steps on two ranks: late and unused layers, tasks apart, static graphs."""

from functools import cache
from typing import Any

import pytest
import torch

from tests.support.ddp_engine import RULES, STRATEGIES, Late, trained
from tests.support.ranks import results_of
from tests.support.toy import parameters

OFTEN = ("none", "EqualWeighting", "FAMO", "UncertaintyWeighting", "GradNorm", "NashMTL", "MoCo")
"""Rules that differ in what they exchange; all others run with the slow tests."""

every_rule = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in OFTEN else [pytest.mark.slow]) for name in RULES],
)
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


@cache
def results_of_rules(often: bool) -> dict[str, Any]:
    return results_of("ddp_engine", *(name for name in RULES if (name in OFTEN) == often))


@pytest.fixture
def results(name: str) -> dict[str, Any]:
    """What the ranks got, of this rule among others."""
    return results_of_rules(name in OFTEN)


@every_rule
@every_strategy
def test_a_late_layer_trains_on_two_ranks_as_on_one(
    results: dict[str, Any], name: str, strategy: str
) -> None:
    found, gap = results[f"Late {strategy} {name}"]
    assert gap == 0
    if name != "SDMGrad":
        # A rule on products of different parts sees more of them with more ranks.
        alone = trained(Late, name, strategy, batch_size=8, devices=1)
        torch.testing.assert_close(found, alone, atol=2e-5, rtol=1e-4)
    late = sum(p.numel() for p in Late().late.parameters())
    assert not torch.equal(found[-late:], parameters(Late())[-late:])


@every_rule
@pytest.mark.parametrize("network", ["LateOnOneRank", "Apart"])
def test_ranks_agree_where_they_do_not_run_the_same_layers(
    results: dict[str, Any], name: str, network: str
) -> None:
    both = [results[f"{network} {strategy} {name}"] for strategy in STRATEGIES]
    assert [gap for _, gap in both] == [0, 0]
    torch.testing.assert_close(both[0][0], both[1][0], atol=1e-6, rtol=1e-5)
    assert torch.isfinite(both[0][0]).all()


@every_rule
def test_a_static_graph_gives_the_same_or_is_refused_with_the_way_out(
    results: dict[str, Any], name: str
) -> None:
    static, dynamic = results[f"static {name}"], results[f"dynamic {name}"]
    if isinstance(static, str):
        assert "static_graph=True" in static and "Leave `static_graph` out" in static
        assert name not in ("none", "EqualWeighting", "DWA", "UncertaintyWeighting")
    else:
        torch.testing.assert_close(static, dynamic, atol=1e-6, rtol=1e-5)
