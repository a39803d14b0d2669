"""Metrics by the names of papers, against what these papers compute."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lightning_mtl import metrics
from lightning_mtl.metrics import (
    depth_metrics,
    normal_metrics,
    protocols,
    saliency,
    segmentation_metrics,
)
from lightning_mtl.metrics.edges import edge_protocols
from lightning_mtl.metrics.pooled import PooledMetric

BATCH = 2
ALIKE = ("pooled", "survey", "atrc", "libmtl")


def values_of(metric: PooledMetric, prediction: Tensor, target: Tensor) -> dict[str, float]:
    for pair in zip(prediction.split(BATCH), target.split(BATCH), strict=True):
        metric.update(*pair)
    return {name: value.item() for name, value in metric.compute().items()}


def depth() -> tuple[Tensor, Tensor]:
    target = torch.rand(5, 1, 6, 7) * 4 + 0.1
    prediction = target + 0.5 * torch.rand_like(target)
    return prediction, torch.where(torch.rand_like(target) < torch.rand(5, 1, 1, 1), 0, target)


def normals() -> tuple[Tensor, Tensor]:
    target = functional.normalize(torch.randn(5, 3, 6, 7), dim=1)
    prediction = target + torch.rand(5, 1, 1, 1) * torch.randn_like(target)
    return prediction, torch.where(torch.rand(5, 1, 6, 7) < torch.rand(5, 1, 1, 1), 0, target)


def segmentation() -> tuple[Tensor, Tensor]:
    target = torch.randint(0, 3, (4, 6, 7))
    target[0] = 1
    logits = 2 * functional.one_hot(target, 5).movedim(-1, 1).float()
    logits[:, :3] += torch.randn(4, 3, 6, 7)
    return logits, torch.where(torch.rand(4, 6, 7) < 0.2, 255, target)


def ious(logits: Tensor, target: Tensor) -> list[float]:
    """The intersection over union of each of five classes, NaN for one that is nowhere."""
    found, true = logits.argmax(1)[target != 255], target[target != 255]
    unions = [((found == c) | (true == c)).sum().item() for c in range(5)]
    hits = [((found == c) & (true == c)).sum().item() for c in range(5)]
    return [h / u if u else np.nan for h, u in zip(hits, unions, strict=True)]


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("pooled", lambda logits, target: np.nanmean(ious(logits, target))),
        ("mtan", lambda logits, target: np.nanmean(ious(logits, target))),
        ("libmtl", lambda logits, target: np.nanmean(ious(logits, target))),
        ("survey", lambda logits, target: np.nansum(ious(logits, target)) / 5),
        ("astmt", lambda logits, target: np.nansum(ious(logits, target)) / 5),
        ("atrc", lambda logits, target: np.nansum(ious(logits, target)) / 5),
        (
            "mtan_before_2020",
            lambda logits, target: np.mean(
                [
                    np.nanmean(ious(logits[None], target[None]))
                    for logits, target in zip(logits, target, strict=True)
                ]
            ),
        ),
    ],
    ids=["pooled", "mtan", "libmtl", "survey", "astmt", "atrc", "mtan_before_2020"],
)
def test_miou_is_that_of_the_protocol(protocol, expected):
    logits, target = segmentation()
    found = values_of(segmentation_metrics(5, protocol=protocol), logits, target)
    assert found["mIoU"] == pytest.approx(expected(logits, target))


def test_depth_under_astmt_is_the_mean_of_the_rmse_of_images():
    prediction, target = depth()
    errors = [
        (p - t)[t > 0].square().mean().sqrt().item()
        for p, t in zip(prediction, target, strict=True)
        if (t > 0).any()
    ]
    found = values_of(depth_metrics("astmt"), prediction, target)
    assert found == pytest.approx({"RMSE": np.mean(errors)}, rel=1e-5)


def test_depth_under_mtan_is_the_mean_of_the_errors_of_batches():
    prediction, target = depth()
    absolute, relative = [], []
    for p, t in zip(prediction.split(BATCH), target.split(BATCH), strict=True):
        error = (p - t)[t > 0].abs()
        absolute.append(error.mean().item())
        relative.append((error / t[t > 0]).mean().item())
    found = values_of(depth_metrics("mtan"), prediction, target)
    expected = {"abs_err": np.mean(absolute), "rel_err": np.mean(relative)}
    assert found == pytest.approx(expected, rel=1e-5)


def test_normals_under_mtan_are_the_means_of_the_statistics_of_batches():
    prediction, target = normals()
    medians, means, within = [], [], []
    for p, t in zip(prediction.split(BATCH), target.split(BATCH), strict=True):
        cosine = functional.cosine_similarity(p.double(), t.double(), dim=1)[(t != 0).any(dim=1)]
        angles = np.degrees(np.arccos(cosine.clamp(-1, 1).numpy()))
        medians.append(np.median(angles))
        means.append(angles.mean())
        within.append((angles < 22.5).mean())
    found = values_of(normal_metrics("mtan"), prediction, target)
    assert found["median"] == pytest.approx(np.mean(medians), abs=0.0051)
    assert found["mean"] == pytest.approx(np.mean(means), rel=1e-5)
    assert found["within_22.5"] == pytest.approx(np.mean(within), rel=1e-5)


@pytest.mark.parametrize(("make", "batch"), [(depth_metrics, depth), (normal_metrics, normals)])
def test_the_pooled_protocols_agree_and_the_others_do_not(make, batch):
    pair = batch()
    pooled = values_of(make(), *pair)
    assert all(values_of(make(protocol), *pair) == pooled for protocol in ALIKE)
    averaged = values_of(make("mtan"), *pair)
    assert all(averaged[name] != pytest.approx(pooled[name], rel=1e-3) for name in averaged)


@pytest.mark.parametrize(
    ("documented", "known"),
    [
        (protocols, protocols.SEGMENTATION | protocols.DEPTH | protocols.NORMALS),
        (saliency.SaliencyMetrics, saliency.PROTOCOLS),
        (edge_protocols, edge_protocols.PROTOCOLS),
    ],
)
def test_the_tables_of_the_docs_have_every_protocol_and_so_has_the_overview(documented, known):
    rows = [line.split("|")[1] for line in documented.__doc__.splitlines() if "|" in line]
    named = {name.strip() for row in rows for name in row.split(",")}
    overview = set(metrics.__doc__.replace(",", " ").replace("(default)", " ").split())
    assert set(known) - {"pooled"} <= named
    assert set(known) <= overview


@pytest.mark.parametrize(
    "make",
    [depth_metrics, normal_metrics, lambda p: segmentation_metrics(2, protocol=p)],
    ids=["depth", "normals", "segmentation"],
)
def test_an_unknown_protocol_is_an_error_that_lists_those_known(make):
    match = (
        r"""_metrics\(protocol=\)` should be one of "astmt", "atrc", .*"survey"\. Found 'eigen'"""
    )
    with pytest.raises(ValueError, match=match):
        make("eigen")


@pytest.mark.parametrize("protocol", protocols.DEPTH)
def test_within_a_table_of_depth_the_rmse_is_not_below_the_absolute_error(protocol):
    for seed in range(20):
        torch.manual_seed(seed)
        target = torch.rand(3, 1, 4, 5) * 4 + 0.1
        scale = 10 ** torch.empty(3, 1, 4, 5).uniform_(-1, 2)
        found = values_of(
            depth_metrics(protocol), target + scale * torch.randn_like(target), target
        )
        assert found.get("RMSE", np.inf) >= (1 - 1e-6) * found.get("abs_err", 0)


def test_published_errors_see_predictions_below_zero_as_the_papers_do():
    pair = torch.full((1, 1, 1, 1), -3.0), torch.full((1, 1, 1, 1), 1.0)
    assert values_of(depth_metrics("survey"), *pair)["RMSE"] == 1
    assert values_of(depth_metrics("mtan"), *pair) == {"abs_err": 4, "rel_err": 4}
    libmtl = values_of(depth_metrics("libmtl"), *pair)
    assert (libmtl["RMSE"], libmtl["abs_err"]) == (4, 4)
