"""Every task under every protocol: two ranks get the numbers of one, and nothing has no number."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, multiprocessing

from lightning_mtl.metrics import protocols, saliency
from lightning_mtl.metrics.edges import edge_protocols
from lightning_mtl.tasks import (
    Attributes,
    Classification,
    Depth,
    Disparity,
    Edges,
    HumanParts,
    Keypoints,
    Normals,
    Regression,
    Saliency,
    Segmentation,
    Task,
)
from tests.tasks.test_per_image import attributes, numbers
from tests.tasks.test_per_image import classes as labels
from tests.tasks.test_task import H, W, classes, flags, heatmaps, metres, unit_vectors

Case = tuple[Task, Callable[[], Tensor], float]
BATCHES = 4


def every_case() -> Iterator[tuple[str, Case]]:
    for name in protocols.SEGMENTATION:
        yield f"segmentation {name}", (Segmentation(5, protocol=name), classes, 255)
        yield f"human parts {name}", (HumanParts(5, protocol=name), classes, 255)
    for name, make in protocols.DEPTH.items():
        yield f"depth {name}", (Depth(protocol=name), metres, 0)
        if "abs_err" in make().directions:
            yield f"disparity {name}", (Disparity(protocol=name), metres, 0)
    for name in protocols.NORMALS:
        yield f"normals {name}", (Normals(protocol=name), unit_vectors, 0)
    for name in saliency.PROTOCOLS:
        yield f"saliency {name}", (Saliency(protocol=name), flags, 255)
    for name in edge_protocols.PROTOCOLS:
        yield f"edges {name}", (Edges(thresholds=3, max_dist=0.1, protocol=name), flags, 255)
    for decode in ("argmax", "soft_argmax"):
        yield f"keypoints {decode}", (Keypoints(2, decode=decode), heatmaps, 0)
    yield "attributes", (Attributes(3), attributes, 255)
    yield "classification", (Classification(3, "left"), labels, 255)
    yield "regression", (Regression("age", 3), numbers, torch.nan)


CASES = dict(every_case())


def batches(case: Case) -> list[tuple[Tensor, Tensor]]:
    """Batches of targets and predictions; the last has no label."""
    task, targets, invalid = case
    found = [targets() for _ in range(BATCHES - 1)]
    found.append(torch.full_like(found[0], invalid))
    size = (H, W) if found[0].ndim > 2 else (1, 1)
    return [(torch.randn(len(t), task.out_channels, *size), t) for t in found]


def numbers_of(task: Task, pairs: list[tuple[Tensor, Tensor]], alone: bool) -> dict[str, float]:
    metric = task.metrics()
    metric.sync_on_compute = not alone
    for pair in pairs:
        metric.update(*pair)
    return {name: value.item() for name, value in metric.compute().items()}


def compare_two_ranks(rank: int, store: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    for name, case in CASES.items():
        torch.manual_seed(0)
        pairs = batches(case)
        expected = numbers_of(case[0], pairs, alone=True)
        assert expected, name
        for mine in (pairs[rank::2], pairs if rank == 1 else []):
            found = numbers_of(case[0], mine, alone=False)
            assert found == pytest.approx(expected, rel=1e-6), name
        assert numbers_of(case[0], pairs[-1:], alone=False) == {}, name
    distributed.destroy_process_group()


def test_two_ranks_get_the_numbers_of_one_even_if_one_of_them_has_no_label(tmp_path):
    multiprocessing.start_processes(
        compare_two_ranks, args=(tmp_path / "store",), nprocs=2, start_method="forkserver"
    )


@pytest.mark.parametrize("name", CASES)
def test_an_epoch_without_labels_has_no_number_and_later_ones_have(name):
    task, *_ = case = CASES[name]
    pairs, metric = batches(case), task.metrics()
    for epoch in (pairs[-1:], [], pairs, pairs[-1:]):
        for pair in epoch:
            metric.update(*pair)
        found = metric.compute()
        metric.reset()
        assert bool(found) == (len(epoch) > 1)
        assert all(value.isfinite() for value in found.values())
