"""F-scores and average precision of edges."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from lightning_mtl.checks import check_number, check_shape
from lightning_mtl.metrics.edges.edge_counts import edge_counts
from lightning_mtl.metrics.edges.edge_protocols import PROTOCOLS
from lightning_mtl.metrics.edges.edge_scores import best_f, f_score, interpolated_ap
from lightning_mtl.metrics.edges.suppression import suppress_non_maxima
from lightning_mtl.metrics.pooled import PooledMetric
from lightning_mtl.metrics.probability import as_probability
from lightning_mtl.metrics.protocol_lookup import find_protocol

__all__ = ["EdgeMetrics"]


class EdgeMetrics(PooledMetric):
    """F-scores and average precision of edges, from 0 to 1, against one or several annotators.

    At each threshold the probability is made binary, thinned to lines of one pixel, and matched one
    to one, as many pixels as possible, to the target pixels within `max_dist` image diagonals. With
    recall R (matched / all target pixels), precision P (matched / all predicted pixels) and
    F = 2 P R / (P + R):

        odsF = max_t F(t) of the counts of the data set ("optimal data set scale"),
        oisF = F of the counts of each image at its own best threshold ("optimal image scale"),
        AP   = sum of P, interpolated at R = 0, 0.01, ..., 1 where there is any, / 100.

    With several annotators a predicted pixel is right if any of them has it, and target pixels add
    up over annotators (Martin et al., "Learning to Detect Natural Image Boundaries", TPAMI 2004;
    Arbelaez et al., "Contour Detection and Hierarchical Image Segmentation", TPAMI 2011). The
    protocols are in `lightning_mtl.metrics.edges.edge_protocols`.

    BSDS500 has 200 test images, the survey's PASCAL 2498, both with `max_dist=0.0075`; the edges of
    NYUv2 are usually evaluated with 0.011, the default of the protocol "nyud". Published maps have
    8 bits; these here are not rounded.

    `update` works on the host, some 2 milliseconds per image of 321 x 481, threshold and annotator.
    `workers` processes share thresholds and images; their number does not change a digit. They
    are spawned, so a script that uses them needs `if __name__ == "__main__"`.

    Args:
        thresholds: how many, evenly between 0 and 1, or which. To a number of them, "astmt" adds
            its two at the ends.
        max_dist: largest distance of a match, as a share of the image diagonal. By default the
            protocol's.
        protocol: whose numbers to compare with.
        interpolate: whether odsF looks between thresholds. By default as the protocol does.
        suppress: whether to suppress non-maxima first. By default as the protocol does.
        workers: processes; 0 works in this one.
        logits: whether predictions are logits and not probabilities.
        ignore_index: label of pixels without a label. What is predicted there does not count.

    Example:
        >>> metrics = EdgeMetrics()
        >>> target = torch.zeros(1, 20, 20)
        >>> target[:, 10] = 1
        >>> metrics.update(0.9 * target, [target])
        >>> metrics.compute()["odsF"]
        tensor(1.)
    """

    directions: ClassVar[dict[str, bool]] = {"odsF": True, "oisF": True, "AP": True}
    primary = ("odsF",)
    images: Int[Tensor, ""]
    totals: Int[Tensor, "4 T"]
    best: Int[Tensor, " 4"]

    def __init__(
        self,
        thresholds: int | Sequence[float] = 99,
        max_dist: float | None = None,
        protocol: str = "bsds",
        interpolate: bool | None = None,
        suppress: bool | None = None,
        workers: int = 0,
        logits: bool = False,
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        settings = find_protocol("EdgeMetrics", protocol, PROTOCOLS)
        self.max_dist = settings.max_dist if max_dist is None else max_dist
        check_number("EdgeMetrics", "max_dist", self.max_dist, 0, 1)
        check_number("EdgeMetrics", "workers", workers, 0)
        self.thresholds = settings.thresholds(thresholds)
        self.protocol = protocol
        self.inclusive = settings.inclusive
        self.interpolate = settings.interpolate if interpolate is None else interpolate
        self.suppress = settings.suppress if suppress is None else suppress
        self.empty_precision = settings.empty_precision
        self.workers = workers
        self.logits = logits
        self.ignore_index = ignore_index
        self._pool: ProcessPoolExecutor | None = None
        self.add_count("images")
        self.add_count("totals", 4, len(self.thresholds))
        self.add_count("best", 4)

    def update(
        self,
        prediction: Float[Tensor, "N H W"] | Float[Tensor, "N 1 H W"],
        target: Iterable[Num[Tensor, "A H W"]] | Num[Tensor, "N H W"],
    ) -> None:
        """Match the edges of a batch.

        Args:
            prediction: probability of an edge, or its logit if so declared. NaN is no edge.
            target: for each image the maps of its annotators, positive where at least 0.5; a tensor
                `(N, H, W)` has one annotator. A map that is all `ignore_index` is no annotator.

        Raises:
            ValueError: if a shape does not fit, or probabilities are not from 0 to 1.
        """
        probability = as_probability("EdgeMetrics", prediction, self.logits)
        maps = [labels if labels.ndim == 3 else labels[None] for labels in target]
        if len(maps) != len(probability):
            raise ValueError(
                f"`EdgeMetrics` should be given one target per image. Found {len(maps)} for"
                f" {len(probability)} images."
            )
        for labels in maps:
            check_shape("EdgeMetrics", "target", labels, ("A", *probability.shape[1:]))
        pairs = zip(probability.cpu().double().numpy(), maps, strict=True)
        # An image that nobody has annotated has no edges to find, nor any to miss.
        jobs = [job for image, labels in pairs if (job := self._job(image, labels))]
        for counts in self._count(jobs):
            scores = f_score(counts, self.empty_precision)
            self.images += 1
            self.totals += torch.from_numpy(counts).to(self.totals)
            self.best += torch.from_numpy(counts[:, scores.argmax()]).to(self.best)

    def values(self) -> dict[str, Tensor]:
        """The F-scores and the average precision, called by `compute`."""
        if self.images == 0:
            return {}
        totals, best = self.totals.cpu().numpy(), self.best.cpu().numpy()
        scores = {
            "odsF": best_f(totals, self.empty_precision, self.interpolate),
            "oisF": f_score(best, self.empty_precision),
            "AP": interpolated_ap(totals, self.empty_precision),
        }
        return {
            name: torch.as_tensor(score, dtype=torch.float32, device=self.totals.device)
            for name, score in scores.items()
        }

    def _job(self, probability: np.ndarray, labels: Tensor) -> tuple[Any, ...] | None:
        """The arguments of `edge_counts` before the thresholds, or None without any label."""
        maps = labels.cpu().numpy()
        labelled = maps != self.ignore_index
        annotated = labelled.any(axis=(1, 2))
        if not annotated.any():
            return None
        edges = ((maps >= 0.5) & labelled)[annotated]
        if self.suppress:
            probability = suppress_non_maxima(probability)
        return probability, edges, labelled.any(axis=0)

    def _count(self, jobs: list[tuple[Any, ...]]) -> Iterable[Int[np.ndarray, "4 T"]]:
        """The counts of each image, in the order of the jobs, computed in parallel if asked for."""
        parts = max(1, self.workers)
        shares = [self.thresholds[part::parts] for part in range(parts)]
        calls = [
            (*job, share, self.max_dist * float(np.hypot(*job[0].shape)), self.inclusive)
            for job in jobs
            for share in shares
        ]
        if self.workers and self._pool is None:
            self._pool = ProcessPoolExecutor(self.workers, mp_context=get_context("spawn"))
        run = self._pool.map if self._pool else map
        results = list(run(edge_counts, *zip(*calls, strict=True))) if calls else []
        for first in range(0, len(results), parts):
            counts = np.zeros((4, len(self.thresholds)), dtype=np.int64)
            for part, result in enumerate(results[first : first + parts]):
                counts[:, part::parts] = result
            yield counts

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_pool": None}
