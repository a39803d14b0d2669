"""Time of `EdgeMetrics` on BSDS500's benchmark sample, beside a loop over pixels with a k-d tree.

Run by hand, with the folder of the data: `python tests/benchmarks/bench_edges.py <shared data>`.
Two kinds of maps: those of the sample (few distinct values, thin) and the gradient of the images
(soft and thick, as of a network; every threshold differs).
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.io import loadmat
from scipy.ndimage import gaussian_gradient_magnitude
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import cKDTree
from skimage import morphology

from lightning_mtl.metrics import EdgeMetrics
from lightning_mtl.metrics.edges.matching import match
from lightning_mtl.metrics.edges.thinning import thin

THRESHOLDS = 99
TEST_SET = 200
MAX_DIST = 0.0075
Sample = tuple[np.ndarray, np.ndarray]


def sample(folder: Path) -> tuple[list[Sample], list[Sample]]:
    """Map and annotators of each image, with the maps of the sample and with gradients."""
    given, soft = [], []
    for path in sorted((folder / "png").glob("*.png")):
        truth = loadmat(folder / "groundTruth" / f"{path.stem}.mat")["groundTruth"][0]
        maps = np.stack([annotator["Boundaries"][0, 0] for annotator in truth]).astype(bool)
        grey = np.asarray(Image.open(folder / "images" / f"{path.stem}.jpg").convert("L")) / 255
        gradient = gaussian_gradient_magnitude(grey, 2)
        given.append((np.asarray(Image.open(path)) / 255, maps))
        soft.append((gradient / gradient.max(), maps))
    return given, soft


def by_pixel(probability: np.ndarray, maps: np.ndarray, threshold: float) -> tuple[float, float]:
    """Seconds of thinning and of a query for each pixel, and of scipy's matching."""
    radius = MAX_DIST * np.hypot(*probability.shape)
    start, matching = time.perf_counter(), 0.0
    pixels = np.argwhere(morphology.thin(probability >= threshold))
    for target in maps:
        ends = np.argwhere(target)
        tree = cKDTree(ends)
        near = [tree.query_ball_point(pixel, radius) for pixel in pixels]
        starts = np.concatenate([[0], np.cumsum([len(reached) for reached in near])])
        heads = np.concatenate(near).astype(np.int32)
        ones = np.ones(heads.size, dtype=np.int8)
        graph = csr_array((ones, heads, starts.astype(np.int32)), shape=(len(near), len(ends)))
        before = time.perf_counter()
        maximum_bipartite_matching(graph, perm_type="column")
        matching += time.perf_counter() - before
    return time.perf_counter() - start - matching, matching


def ours(samples: list[Sample], thresholds: int, workers: int) -> float:
    """Seconds of the metric, with its processes already started."""
    metric = EdgeMetrics(thresholds, MAX_DIST, workers=workers)
    batches = [(torch.from_numpy(p)[None], [torch.from_numpy(maps)]) for p, maps in samples]
    for _ in range(max(1, workers)):
        metric.update(*batches[0])
    metric.reset()
    start = time.perf_counter()
    for batch in batches:
        metric.update(*batch)
    return time.perf_counter() - start


def pieces(samples: list[Sample], thresholds: np.ndarray) -> tuple[float, float, float]:
    """Milliseconds of thinning, of scikit-image's thinning, and of matching one annotator."""
    seconds, matches = np.zeros(3), 0
    for probability, maps in samples:
        radius = MAX_DIST * np.hypot(*probability.shape)
        for threshold in thresholds:
            mask = probability >= threshold
            marks = [time.perf_counter()]
            edges = thin(mask)
            marks.append(time.perf_counter())
            morphology.thin(mask)
            marks.append(time.perf_counter())
            for target in maps:
                match(edges, target, radius)
            marks.append(time.perf_counter())
            seconds += np.diff(marks)
            matches += len(maps)
    count = len(samples) * len(thresholds)
    return tuple((1000 * seconds / [count, count, matches]).tolist())


def report(name: str, samples: list[Sample], cores: int) -> None:
    few = np.linspace(1 / 6, 5 / 6, 5)
    loops = np.array([by_pixel(p, maps, t) for p, maps in samples for t in few])
    query, matching = loops.mean(axis=0)
    each = {workers: ours(samples, 5, workers) / len(samples) / len(few) for workers in (0, cores)}
    whole = {workers: ours(samples, THRESHOLDS, workers) / len(samples) for workers in (0, cores)}
    thinning, reference, matched = pieces(samples, few)
    lines = [
        f"{name}, {len(samples)} images, {sum(len(m) for _, m in samples)} annotator maps:",
        f"  k-d tree loop, per image and threshold: {query:.3f} s and {matching:.3f} s of matching",
        *(
            f"  EdgeMetrics with {workers} workers: {seconds:.4f} s, {query / seconds:.0f} times "
            f"faster than the loop alone, {(query + matching) / seconds:.0f} with its matching"
            for workers, seconds in each.items()
        ),
        f"  thinning {thinning:.2f} ms (scikit-image {reference:.2f} ms), matching an annotator "
        f"{matched:.2f} ms",
        *(
            f"  {THRESHOLDS} thresholds, {workers} workers: {seconds:.2f} s per image, "
            f"{TEST_SET * seconds / 60:.1f} min for {TEST_SET} images"
            for workers, seconds in whole.items()
        ),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def main() -> None:
    given, soft = sample(Path(sys.argv[1]) / "bsds500" / "bench" / "data")
    cores = os.cpu_count() or 1
    report("maps of the sample", given, cores)
    report("gradients", soft, cores)


if __name__ == "__main__":
    main()
