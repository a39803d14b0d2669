"""The multi-task performance of published tables."""

import math

import pytest
import torch

from lightning_mtl.metrics import multi_task_performance

NYUD_BASELINE = (43.9, 0.585)
PASCAL_BASELINE = (66.2, 59.9, 66.3, 13.9, 68.8)
NYUD = {"segmentation": True, "depth": False}
PASCAL = {"segmentation": True, "parts": True, "saliency": True, "normals": False, "edges": True}

# Vandenhende et al., TPAMI 2021, tables 5a and 5b. The table's own inputs are rounded; the last
# column is how far that moves these rows (normals of 13.9 degrees have the coarsest digit).
PUBLISHED = {
    "NYUD single task": (NYUD, NYUD_BASELINE, NYUD_BASELINE, 0.0, 0.0),
    "NYUD shared encoder": (NYUD, NYUD_BASELINE, (44.4, 0.587), 0.41, 0.021),
    "NYUD MTAN": (NYUD, NYUD_BASELINE, (45.0, 0.584), 1.32, 0.021),
    "NYUD cross-stitch": (NYUD, NYUD_BASELINE, (44.2, 0.570), 1.61, 0.021),
    "NYUD NDDR-CNN": (NYUD, NYUD_BASELINE, (44.2, 0.573), 1.38, 0.021),
    "NYUD JTRL": (NYUD, NYUD_BASELINE, (46.4, 0.501), 10.02, 0.021),
    "NYUD PAP-Net": (NYUD, NYUD_BASELINE, (50.4, 0.530), 12.10, 0.021),
    "NYUD PAD-Net": (NYUD, NYUD_BASELINE, (50.2, 0.582), 7.43, 0.021),
    "PASCAL shared encoder": (PASCAL, PASCAL_BASELINE, (63.8, 58.6, 65.1, 14.9, 69.2), -2.86, 0.1),
    "PASCAL cross-stitch": (PASCAL, PASCAL_BASELINE, (66.1, 60.6, 66.8, 13.9, 69.9), 0.60, 0.1),
    "PASCAL NDDR-CNN": (PASCAL, PASCAL_BASELINE, (65.4, 60.5, 66.8, 13.9, 69.8), 0.39, 0.1),
}


@pytest.mark.parametrize(
    ("directions", "baselines", "results", "delta", "rounding"),
    PUBLISHED.values(),
    ids=PUBLISHED.keys(),
)
def test_published_rows_are_reproduced_to_their_rounding(
    directions, baselines, results, delta, rounding
):
    named = [dict(zip(directions, values, strict=True)) for values in (results, baselines)]
    assert multi_task_performance(*named, directions) == pytest.approx(delta, abs=rounding)


def test_better_is_positive_in_either_direction():
    assert multi_task_performance({"a": 1.1}, {"a": 1.0}, {"a": True}) == pytest.approx(10)
    assert multi_task_performance({"a": 0.9}, {"a": 1.0}, {"a": False}) == pytest.approx(10)


def test_the_unit_of_a_metric_does_not_matter():
    share = multi_task_performance({"a": 0.45, "b": 2}, {"a": 0.4, "b": 3}, {"a": True, "b": False})
    percent = multi_task_performance({"a": 45, "b": 2}, {"a": 40, "b": 3}, {"a": True, "b": False})
    assert share == pytest.approx(percent)


def test_tensors_stay_tensors():
    results = {"a": torch.tensor(1.1), "b": torch.tensor(0.9)}
    delta = multi_task_performance(results, {"a": 1.0, "b": 1.0}, {"a": True, "b": True})
    assert isinstance(delta, torch.Tensor)
    torch.testing.assert_close(delta, torch.tensor(0.0), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("results", "baselines", "directions"),
    [
        ({}, {}, {}),
        ({"a": 1.0}, {"a": 1.0, "b": 1.0}, {"a": True, "b": True}),
        ({"a": 1.0}, {"a": 1.0}, {"b": True}),
    ],
)
def test_tasks_that_differ_are_an_error_that_lists_them(results, baselines, directions):
    with pytest.raises(ValueError, match="should be given the same tasks") as error:
        multi_task_performance(results, baselines, directions)
    assert all(str(sorted(names)) in str(error.value) for names in (results, baselines, directions))


@pytest.mark.peer("L23")
@pytest.mark.parametrize("baseline", [0.0, -1.0, math.nan, math.inf])
def test_a_baseline_without_size_or_sign_is_an_error_that_names_the_task(baseline):
    with pytest.raises(ValueError, match=r"positive and finite\. Found {'depth'"):
        multi_task_performance({"depth": 1.0}, {"depth": baseline}, {"depth": False})
