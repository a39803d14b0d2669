"""What every metric promises as a torchmetrics metric."""

import copy
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import lightning as L
import matplotlib.pyplot as plt
import pytest
import torch
from torch import Tensor, distributed, multiprocessing
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.wrappers import MetricTracker, MultitaskWrapper

from lightning_mtl.metrics import (
    AttributeMetrics,
    AveragedMetric,
    ClassificationMetrics,
    DepthMetrics,
    EdgeMetrics,
    KeypointMetrics,
    NormalMetrics,
    RegressionMetrics,
    SaliencyMetrics,
    SegmentationMetrics,
)
from lightning_mtl.metrics.pooled import PooledMetric, count_bins


def segmentation_batch(size: int) -> tuple[Tensor, Tensor]:
    target = torch.randint(0, 4, (size, 6, 5))
    return torch.randn(size, 4, 6, 5), torch.where(torch.rand(size, 6, 5) < 0.3, 255, target)


def depth_batch(size: int) -> tuple[Tensor, Tensor]:
    target = torch.rand(size, 1, 6, 5) * 4
    prediction = target + torch.randn(size, 1, 6, 5)
    return prediction, torch.where(torch.rand(size, 1, 6, 5) < 0.3, 0, target)


def normals_batch(size: int) -> tuple[Tensor, Tensor]:
    target = functional.normalize(torch.randn(size, 3, 6, 5), dim=1)
    prediction = 2 * (target + torch.randn(size, 3, 6, 5))
    return prediction, torch.where(torch.rand(size, 1, 6, 5) < 0.3, 0, target)


def binary_batch(size: int) -> tuple[Tensor, Tensor]:
    target = (torch.rand(size, 12, 15) < 0.2).float()
    noisy = (0.5 * target + 0.5 * torch.rand(size, 12, 15)).bfloat16().float()
    return noisy, torch.where(torch.rand(size, 12, 15) < 0.2, 255, target)


def keypoints_batch(size: int) -> tuple[Tensor, Tensor]:
    target = torch.rand(size, 3, 6, 5)
    return torch.randn(size, 3, 6, 5), torch.where(torch.rand(size, 3, 1, 1) < 0.3, 0, target)


def attributes_batch(size: int) -> tuple[Tensor, Tensor]:
    target = (torch.rand(size, 4) < 0.4).float()
    return torch.randn(size, 4), torch.where(torch.rand(size, 4) < 0.2, 255, target)


def classes_batch(size: int) -> tuple[Tensor, Tensor]:
    return torch.randn(size, 3, 2, 2), torch.cat([torch.tensor([255]), torch.arange(size - 1) % 3])


def numbers_batch(size: int) -> tuple[Tensor, Tensor]:
    target = torch.randn(size, 2)
    return torch.randn(size, 2), torch.where(torch.rand(size, 2) < 0.2, torch.nan, target)


# name: metric, batch, invalid value
ON_DEVICE = {
    "segmentation": (lambda: SegmentationMetrics(4), segmentation_batch, 255),
    "depth": (DepthMetrics, depth_batch, 0),
    "normals": (NormalMetrics, normals_batch, 0),
    "saliency": (SaliencyMetrics, binary_batch, 255),
    "pooled saliency": (lambda: SaliencyMetrics("atrc"), binary_batch, 255),
    "raw saliency": (lambda: SaliencyMetrics(logits=True), binary_batch, 255),
    "keypoints": (KeypointMetrics, keypoints_batch, 0),
    "soft keypoints": (lambda: KeypointMetrics(decode="soft_argmax"), keypoints_batch, 0),
    "attributes": (lambda: AttributeMetrics(4), attributes_batch, 255),
    "classification": (ClassificationMetrics, classes_batch, 255),
    "regression": (RegressionMetrics, numbers_batch, torch.nan),
}
# These read values in `update`.
ON_HOST = {
    "edges": (lambda: EdgeMetrics(9, max_dist=0.08), binary_batch, 255),
    "mean of images": (lambda: AveragedMetric(DepthMetrics(), "images"), depth_batch, 0),
}
CASES = ON_DEVICE | ON_HOST
Make = Callable[[], PooledMetric]
Batch = Callable[[int], tuple[Tensor, Tensor]]
every_metric = pytest.mark.parametrize(
    ("make", "batch", "invalid"), CASES.values(), ids=CASES.keys()
)
every_metric_on_device = pytest.mark.parametrize(
    ("make", "batch", "invalid"), ON_DEVICE.values(), ids=ON_DEVICE.keys()
)


def values_of(metric: PooledMetric, *batches: tuple[Tensor, Tensor]) -> dict[str, float]:
    for prediction, target in batches:
        metric.update(prediction, target)
    return {name: value.item() for name, value in metric.compute().items()}


@pytest.mark.peer("L20", "O7")
@every_metric
def test_values_do_not_depend_on_how_the_data_set_is_batched(make, batch, invalid):
    prediction, target = batch(6)
    pairs = zip(prediction.split([1, 3, 2]), target.split([1, 3, 2]), strict=True)
    split, whole = values_of(make(), *pairs), values_of(make(), (prediction, target))
    assert split == pytest.approx(whole, rel=1e-6)


@every_metric
def test_invalid_pixels_do_not_count(make, batch, invalid):
    prediction, target = batch(3)
    nothing = torch.full_like(target, invalid)
    assert values_of(make(), (prediction, target), (prediction, nothing)) == values_of(
        make(), (prediction, target)
    )


@every_metric
def test_a_task_that_was_absent_has_no_numbers(make, batch, invalid):
    prediction, target = batch(2)
    assert values_of(make()) == {}
    assert values_of(make(), (prediction, torch.full_like(target, invalid))) == {}


@every_metric
def test_each_name_has_a_direction(make, batch, invalid):
    metric = make()
    assert values_of(metric, batch(2)).keys() == metric.directions.keys()


@every_metric
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_predictions_are_computed_in_float32(make, batch, invalid, dtype):
    prediction, target = batch(2)
    low = prediction.to(dtype)
    assert values_of(make(), (low, target)) == values_of(make(), (low.float(), target))


@every_metric_on_device
def test_no_update_waits_for_the_device(make, batch, invalid):
    # Tensors on the meta device have no values, so reading one raises.
    metric = make().to("meta")
    prediction, target = batch(2)
    metric.update(prediction.to("meta"), target.to("meta"))
    assert all(state.is_meta for state in metric.metric_state.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_metric_on_device
def test_no_update_synchronises_cuda(make, batch, invalid):
    expected = values_of(make(), pair := batch(2))
    metric = make().to("cuda")
    prediction, target = (tensor.to("cuda") for tensor in pair)
    # Switching the mode on warns that it is a prototype.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode("error")
    try:
        metric.update(prediction, target)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert values_of(metric) == pytest.approx(expected, rel=1e-5)


@every_metric
def test_sums_keep_their_precision_when_the_model_loses_its_own(make, batch, invalid):
    pair = batch(4)
    metric = make()
    metric.update(*pair)
    states = {name: state.clone() for name, state in metric.metric_state.items()}
    module = torch.nn.ModuleDict({"metric": metric}).to(torch.bfloat16).half()
    for name, state in module["metric"].metric_state.items():
        assert state.dtype in (torch.int64, torch.float64)
        assert torch.equal(state, states[name])
    metric.reset()
    assert values_of(metric, pair) == values_of(make(), pair)


@every_metric
def test_moving_from_the_meta_device_starts_at_zero(make, batch, invalid):
    pair = batch(2)
    module = torch.nn.ModuleDict({"metric": make()}).to("meta").to_empty(device="cpu")
    assert values_of(module["metric"], pair) == values_of(make(), pair)


@every_metric
def test_a_clone_has_its_own_states_and_prefix(make, batch, invalid):
    metric, pair = make(), batch(2)
    clone = metric.clone(prefix="val/")
    clone.update(*pair)
    assert metric.compute() == {}
    assert clone.compute() == {f"val/{k}": v for k, v in values_of(metric, pair).items()}
    assert clone.clone().prefix == "val/"


@pytest.mark.peer("O13")
@every_metric
def test_reset_forgets(make, batch, invalid):
    metric, pair = make(), batch(2)
    values_of(metric, batch(3))
    metric.reset()
    assert metric.compute() == {}
    assert values_of(metric, pair) == values_of(make(), pair)


@every_metric
def test_a_reset_in_inference_mode_leaves_states_that_can_be_added_to(make, batch, invalid):
    metric, pair = make(), batch(2)
    with torch.inference_mode():
        expected = values_of(metric, pair)
        metric.reset()
    assert values_of(metric, pair) == expected


@every_metric
def test_forward_gives_the_batch_and_accumulates(make, batch, invalid):
    first, second = batch(2), batch(3)
    metric = make()
    assert metric(*first) == values_of(make(), first)
    assert metric(*second) == values_of(make(), second)
    assert metric.compute() == pytest.approx(values_of(make(), first, second), rel=1e-6)


@every_metric
def test_copies_and_pickles_keep_the_states(make, batch, invalid):
    metric, first, second = make(), batch(2), batch(3)
    expected = values_of(make(), first, second)
    metric.update(*first)
    for other in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        assert values_of(other, second) == expected


def test_a_multitask_wrapper_holds_all_of_them():
    pairs = {name: batch(2) for name, (_, batch, _) in CASES.items()}
    wrapper = MultitaskWrapper({name: make() for name, (make, _, _) in CASES.items()})
    wrapper.update(*({name: pair[i] for name, pair in pairs.items()} for i in range(2)))
    expected = {name: values_of(make(), pairs[name]) for name, (make, _, _) in CASES.items()}
    assert wrapper.compute() == expected


@every_metric
def test_a_tracker_keeps_the_values_of_every_epoch(make, batch, invalid):
    tracker, pairs = MetricTracker(make()), [batch(3) for _ in range(2)]
    for pair in pairs:
        tracker.increment()
        tracker.update(*pair)
    epochs = [values_of(make(), pair) for pair in pairs]
    found = tracker.compute_all()
    assert {name: values.tolist() for name, values in found.items()} == {
        name: [epoch[name] for epoch in epochs] for name in epochs[0]
    }
    assert tracker.maximize is next(iter(make().directions.values()))


def test_a_tracker_of_one_value_knows_the_best_epoch():
    tracker = MetricTracker(DepthMetrics()["RMSE"], maximize=False)
    for error in (1.0, 0.25, 0.5):
        tracker.increment()
        tracker.update(torch.full((1, 1, 2, 2), 2 + error), torch.full((1, 1, 2, 2), 2.0))
    assert tracker.best_metric(return_step=True) == (0.25, 1)


@pytest.fixture
def axes():
    figure, drawn = plt.subplots()
    yield drawn
    plt.close(figure)


def test_the_values_can_be_plotted_for_one_epoch_and_for_several(axes):
    metric = SegmentationMetrics(4)
    metric.update(*segmentation_batch(2))
    metric.plot(ax=axes)
    metric.plot([metric.compute(), metric.compute()], ax=axes)
    value = float(metric.compute()["mIoU"])
    drawn = [line.get_ydata() for line in axes.lines if line.get_label() == "mIoU"]
    assert [[float(number) for number in line] for line in drawn] == [[value], [value, value]]


class Validated(L.LightningModule):
    """Logs its metrics the way a user does."""

    def __init__(self) -> None:
        super().__init__()
        self.metric = DepthMetrics().clone(prefix="val/depth/")
        self.absent = NormalMetrics().clone(prefix="val/normals/")

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        self.metric.update(*batch)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.metric.compute())
        self.log_dict(self.absent.compute())
        self.metric.reset()


def test_a_lightning_module_logs_them():
    pair = depth_batch(5)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    loader = DataLoader(TensorDataset(*pair), batch_size=2)
    (logged,) = trainer.validate(Validated(), loader, verbose=False)
    expected = values_of(DepthMetrics().clone(prefix="val/depth/"), pair)
    assert logged == pytest.approx(expected, rel=1e-6)


def test_bins_are_counted_over_all_samples():
    index = torch.tensor([[0, 1, 1], [1, 3, 0]])
    assert count_bins(index, 5).tolist() == [2, 3, 0, 1, 0]


def compare_two_ranks(rank: int, store: Path) -> None:
    torch.manual_seed(0)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    for make, batch, invalid in CASES.values():
        metric, (prediction, target) = make(), batch(5)
        mine = slice(0, 3) if rank == 0 else slice(3, 5)
        metric.update(prediction[mine], target[mine])
        pooled = metric.compute()
        alone = make()
        alone.sync_on_compute = alone._to_sync = False
        assert pooled == pytest.approx(values_of(alone, (prediction, target)), rel=1e-6)

        half_absent = make()
        seen = target if rank == 0 else torch.full_like(target, invalid)
        half_absent.update(prediction, seen)
        assert half_absent.compute() == pytest.approx(values_of(alone), rel=1e-6)
    distributed.destroy_process_group()


def test_two_ranks_get_the_values_of_one(tmp_path):
    multiprocessing.start_processes(
        compare_two_ranks, args=(tmp_path / "store",), nprocs=2, start_method="forkserver"
    )
