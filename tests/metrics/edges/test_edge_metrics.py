"""Edge scores against the official benchmark and against loops over thresholds and images."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat
from scipy.ndimage import gaussian_filter
from skimage.morphology import thin

from lightning_mtl.metrics import EdgeMetrics
from lightning_mtl.metrics.edges.edge_protocols import PROTOCOLS
from lightning_mtl.metrics.edges.matching import match
from lightning_mtl.metrics.edges.suppression import suppress_non_maxima
from tests.metrics.edges.test_matching import literal as matching_size

THRESHOLDS = (0.2, 0.4, 0.6, 0.8)


def example(size: int, annotators: int = 1) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Blurred noise, and the thinned middle of other noise near it."""
    generator = np.random.default_rng(size)
    noise = gaussian_filter(generator.random((size, 24, 30)), (0, 1.5, 1.5))
    noise = (noise - noise.min()) / np.ptp(noise)
    targets = []
    for image in noise:
        maps = image + generator.normal(0, 0.05, (annotators, *image.shape))
        targets.append(torch.from_numpy(np.stack([thin(labels > 0.55) for labels in maps])).float())
    return torch.from_numpy(noise).float(), targets


def f_score(counts: np.ndarray, empty_precision: float) -> float:
    matched_targets, targets, matched_edges, edges = counts
    recall = matched_targets / targets if targets else 0
    precision = matched_edges / edges if edges else empty_precision
    return 2 * recall * precision / (recall + precision) if recall + precision else 0


def literal(
    probability: torch.Tensor,
    targets: list[torch.Tensor],
    reach: float,
    several: bool = False,
    above: Callable[[np.ndarray, float], np.ndarray] = np.greater_equal,
) -> dict[str, float]:
    """The survey's protocol, image by image, threshold by threshold, pair by pair."""
    counts = np.zeros((len(targets), len(THRESHOLDS), 4))
    radius = reach * np.hypot(*probability.shape[1:])
    for i, maps in enumerate(targets):
        for t, threshold in enumerate(THRESHOLDS):
            edges = thin(above(probability[i].numpy(), threshold))
            found = np.zeros(edges.sum(), dtype=bool)
            for labels in maps.bool().numpy():
                # With several annotators it matters which pixels are matched, not only how many.
                found |= match(edges, labels, radius)
                counts[i, t, 0] += matching_size(edges, labels, radius)
                counts[i, t, 1] += labels.sum()
            counts[i, t, 2:] = found.sum() if several else counts[i, t, 0], edges.sum()
    best = [image[np.argmax([f_score(row, 1) for row in image])] for image in counts]
    pooled = counts.sum(axis=0)
    curve = {}
    for matched_targets, all_targets, matched_edges, edges in pooled:
        precision = matched_edges / edges if edges else 1
        curve.setdefault(matched_targets / all_targets, precision)
    recalls = sorted(curve)
    area = np.interp(np.arange(101) / 100, recalls, [curve[r] for r in recalls], left=0, right=0)
    return {
        "odsF": max(f_score(row, 1) for row in pooled),
        "oisF": f_score(np.sum(best, axis=0), 1),
        "AP": area.sum() / 100,
    }


def values_of(metric: EdgeMetrics) -> dict[str, float]:
    return {name: value.item() for name, value in metric.compute().items()}


def survey(**options: object) -> EdgeMetrics:
    return EdgeMetrics(THRESHOLDS, max_dist=0.04, protocol="survey", **options)


def bsds(folder: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    pairs = []
    for path in sorted((folder / "png").glob("*.png")):
        truth = loadmat(folder / "groundTruth" / f"{path.stem}.mat")["groundTruth"][0]
        maps = np.stack([annotator["Boundaries"][0, 0] for annotator in truth])
        pairs.append((torch.from_numpy(np.array(Image.open(path)) / 255), torch.from_numpy(maps)))
    return pairs


def test_the_official_results_of_bsds500_are_reproduced(shared_data):
    data = shared_data / "bsds500" / "bench" / "data"
    _, _, _, ods, _, _, ois, area = np.loadtxt(data / "test_2" / "eval_bdry.txt")
    by_threshold = np.loadtxt(data / "test_2" / "eval_bdry_thr.txt")[:, 3]
    metric = EdgeMetrics(5)
    for probability, maps in bsds(data):
        metric.update(probability[None], [maps])
    expected = {"odsF": ods, "oisF": ois, "AP": area}
    assert values_of(metric) == pytest.approx(expected, abs=2e-3)
    scores = [f_score(column, 0) for column in metric.totals.T.numpy()]
    assert scores == pytest.approx(by_threshold, abs=2e-3)


@pytest.mark.peer("O14")
def test_values_equal_the_literal_protocol():
    probability, targets = example(3)
    metric = survey()
    metric.update(probability, targets)
    assert values_of(metric) == pytest.approx(literal(probability, targets, 0.04), rel=1e-6)


def test_values_equal_the_literal_protocol_with_several_annotators():
    probability, targets = example(2, annotators=3)
    metric = survey()
    metric.update(probability, targets)
    expected = literal(probability, targets, 0.04, several=True)
    assert values_of(metric) == pytest.approx(expected, rel=1e-6)


def test_under_astmt_the_same_is_done_to_ridges_above_the_threshold():
    probability, targets = example(3)
    probability = (100 * probability).round() / 100
    metric = EdgeMetrics(THRESHOLDS, max_dist=0.04, protocol="astmt")
    metric.update(probability, targets)
    ridges = torch.from_numpy(np.stack([suppress_non_maxima(p.numpy()) for p in probability]))
    expected = literal(ridges, targets, 0.04, above=np.greater)
    assert values_of(metric) == pytest.approx(expected, rel=1e-6)


def test_a_perfect_prediction_scores_one():
    _, targets = example(2)
    metric = EdgeMetrics(9)
    metric.update(torch.cat(targets), targets)
    assert metric.compute()["odsF"] == metric.compute()["oisF"] == 1


@pytest.mark.parametrize(("shift", "score"), [(2, 1), (3, 0)])
def test_a_match_reaches_as_far_as_the_share_of_the_diagonal(shift, score):
    target = torch.zeros(1, 30, 40)
    target[:, 5:25, 20] = 1
    metric = EdgeMetrics(3, max_dist=2.5 / 50)
    metric.update(target.roll(shift, dims=2), target)
    assert metric.compute()["odsF"] == score


def test_interpolation_between_thresholds_never_lowers_the_score():
    probability, targets = example(3)
    metrics = survey(), survey(interpolate=True)
    for metric in metrics:
        metric.update(probability, targets)
    at_thresholds, between = (values_of(metric) for metric in metrics)
    assert between.pop("odsF") >= at_thresholds.pop("odsF")
    assert between == at_thresholds


def test_an_image_of_its_own_best_threshold_is_at_least_as_good():
    _, targets = example(2)
    metric = survey()
    metric.update(torch.cat(targets) * torch.tensor([0.3, 0.7]).view(2, 1, 1), targets)
    values = metric.compute()
    assert values["odsF"] < values["oisF"] + 1e-6
    assert values["oisF"] == 1


def test_a_pixel_is_right_if_any_annotator_has_it_and_target_pixels_add_up():
    maps = torch.zeros(2, 30, 30)
    maps[0, 5], maps[1, 20] = 1, 1
    metric = EdgeMetrics((0.5,), protocol="survey")
    metric.update(maps.sum(dim=0, keepdim=True), [maps])
    assert metric.totals[:, 0].tolist() == [60, 60, 60, 60]
    metric.reset()
    metric.update(maps[:1], [maps])
    assert metric.totals[:, 0].tolist() == [30, 60, 30, 30]


@pytest.mark.slow
def test_the_number_of_processes_does_not_change_a_digit():
    probability, targets = example(3, annotators=2)
    alone, shared = survey(), survey(workers=2)
    for metric in (alone, shared):
        metric.update(probability, targets)
    assert values_of(alone) == values_of(shared)
    assert torch.equal(alone.totals, shared.totals)
    assert values_of(shared.clone()) == values_of(alone)


def test_ignored_pixels_count_neither_as_edges_nor_as_missed():
    probability, targets = example(1)
    ignored = [targets[0].clone()]
    ignored[0][:, :, :15] = 255
    metric, clean = survey(), survey()
    metric.update(probability, ignored)
    clean.update(probability, targets)
    assert (metric.totals[1] == targets[0][:, :, 15:].sum()).all()
    assert (metric.totals[3] < clean.totals[3]).all()


def test_an_annotator_without_labels_is_none():
    probability, targets = example(1)
    metric, expected = survey(), survey()
    metric.update(probability, [torch.cat([targets[0], torch.full((1, 24, 30), 255.0)])])
    expected.update(probability, targets)
    assert torch.equal(metric.totals, expected.totals)


def test_logits_are_probabilities_after_the_sigmoid():
    probability, targets = example(1)
    given, raw = survey(), survey(logits=True)
    given.update(torch.sigmoid(4 * probability - 2), targets)
    raw.update((4 * probability - 2)[:, None], torch.cat(targets))
    assert torch.equal(given.totals, raw.totals)


def test_protocols_differ_in_thresholds_equality_and_suppression():
    astmt = EdgeMetrics(protocol="astmt")
    assert (len(EdgeMetrics().thresholds), len(astmt.thresholds)) == (99, 101)
    assert EdgeMetrics().thresholds[24] == pytest.approx(0.25)
    target = torch.zeros(1, 30, 30)
    target[:, 15] = 1
    for protocol, edges in (("bsds", 30), ("survey", 30), ("astmt", 0)):
        metric = EdgeMetrics((0.5, 0.6), protocol=protocol, suppress=False)
        metric.update(0.5 * target, target)
        assert metric.totals[3, 0] == edges


def test_an_unknown_protocol_is_an_error_that_lists_those_known():
    match = (
        r"""`EdgeMetrics\(protocol=\)` should be one of "astmt", "bsds", "nyud", "survey"\."""
        " Found 'mtan'"
    )
    with pytest.raises(ValueError, match=match):
        EdgeMetrics(protocol="mtan")


def test_the_distance_is_that_of_the_protocol_unless_given():
    found = {name: EdgeMetrics(protocol=name).max_dist for name in PROTOCOLS}
    assert found == {"bsds": 0.0075, "nyud": 0.011, "survey": 0.0075, "astmt": 0.0075}
    assert EdgeMetrics(protocol="nyud", max_dist=0.02).max_dist == 0.02


def test_a_match_beyond_the_distance_of_bsds_counts_for_nyud():
    """Five pixels apart, where the diagonal of 500 allows 3.75 and 5.5."""
    target = torch.zeros(1, 300, 400)
    target[:, 150, 50:350] = 1
    found = {}
    for name in ("bsds", "nyud"):
        metric = EdgeMetrics([0.5], protocol=name)
        metric.update(target.roll(5, dims=1), target)
        found[name] = float(metric.compute()["odsF"])
    assert found == {"bsds": 0, "nyud": 1}


def test_the_defaults_are_those_of_the_benchmarks():
    named, default = EdgeMetrics(thresholds=99, max_dist=0.0075), EdgeMetrics()
    assert (named.thresholds, named.max_dist) == (default.thresholds, default.max_dist)
    assert EdgeMetrics(protocol="astmt").thresholds == (0.001, *default.thresholds, 0.999)


@pytest.mark.parametrize("arguments", [{"max_dist": -1}, {"workers": -1}])
def test_an_argument_out_of_range_is_an_error(arguments):
    with pytest.raises(ValueError, match=r"`EdgeMetrics\(\w+=\)` should be .* Found -1"):
        EdgeMetrics(**arguments)


@pytest.mark.parametrize("thresholds", [(), 0, -1, -3, (0.5, 0.5), (0.7, 0.2), (5, 10), (-0.1,)])
def test_thresholds_that_do_not_ascend_from_0_to_1_are_an_error(thresholds):
    with pytest.raises(ValueError, match="ascending order"):
        EdgeMetrics(thresholds)


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (torch.zeros(2, 4, 4), torch.zeros(1, 4, 4), r"one target per image. Found 1 for 2"),
        (
            torch.zeros(1, 4, 4),
            torch.zeros(1, 4, 5),
            r"target of `EdgeMetrics` should be of shape \(A, 4, 4\). Found",
        ),
        (
            torch.zeros(1, 2, 4, 4),
            torch.zeros(1, 4, 4),
            r"prediction of `EdgeMetrics` should be of shape \(N, 1, H, W\)",
        ),
        (torch.full((1, 4, 4), 3.0), torch.zeros(1, 4, 4), r"from 0 to 1.*logits=True"),
    ],
    ids=["targets too few", "target of another size", "two channels", "logits"],
)
def test_wrong_input_is_an_error_that_says_what_was_expected(prediction, target, message):
    with pytest.raises(ValueError, match=message):
        EdgeMetrics(3).update(prediction, target)
